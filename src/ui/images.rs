//! Images that dsr1 built.

use super::safe;
use super::table::{aligned, row};
use crate::plan::LABEL_STACK;
use crate::report::ImageSummary;
use crate::units::Bytes;

/// Returns one line for each image.
#[must_use]
pub fn images(images: &[ImageSummary]) -> String {
    if images.is_empty() {
        return "no images\n".to_owned();
    }
    let mut rows = vec![row(["IMAGE", "STACK", "SGLANG", "SIZE", "ID", "USED BY"])];
    rows.extend(images.iter().map(|image| {
        let label = |key: &str| safe(image.labels.get(key).map_or("-", String::as_str));
        row([
            &*safe(image.tags.first().map_or("<no tag>", String::as_str)),
            &label(LABEL_STACK),
            &label("org.opencontainers.image.version"),
            &Bytes(image.size_bytes).to_string(),
            &short_id(&image.image_id),
            &safe(&image.used_by.join(", ")),
        ])
    }));
    aligned(&rows)
}

/// Returns a block about one image, with its labels.
#[must_use]
pub fn image(image: &ImageSummary) -> String {
    let ImageSummary {
        tags,
        image_id,
        labels,
        size_bytes,
        created_s: _,
        used_by,
    } = image;
    let mut rows: Vec<_> = tags.iter().map(|tag| row(["tag", &safe(tag)])).collect();
    rows.push(row(["id", &safe(image_id)]));
    rows.push(row(["size", &Bytes(*size_bytes).to_string()]));
    rows.extend(used_by.iter().map(|name| row(["used by", &safe(name)])));
    rows.extend(
        labels
            .iter()
            .map(|(key, value)| row([&*safe(key), &*safe(value)])),
    );
    aligned(&rows)
}

/// Returns the images that were removed, or would be.
#[must_use]
pub fn pruned(removed: &[ImageSummary], dry_run: bool) -> String {
    if removed.is_empty() {
        return "nothing to remove\n".to_owned();
    }
    let verb = if dry_run { "would remove" } else { "removed" };
    let rows: Vec<_> = removed
        .iter()
        .map(|image| {
            let name = image
                .tags
                .first()
                .cloned()
                .unwrap_or_else(|| short_id(&image.image_id));
            row([verb, &*safe(&name), &Bytes(image.size_bytes).to_string()])
        })
        .collect();
    aligned(&rows)
}

/// Shortens an id as Docker does.
fn short_id(id: &str) -> String {
    let id = safe(id);
    id.trim_start_matches("sha256:").chars().take(12).collect()
}
