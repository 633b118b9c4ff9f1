//! Images as files: an OCI image layout in one tar archive, which `docker load` of every version reads too.
//!
//! Docker before 25 exports another form, which is rewritten while it streams. Every blob is hashed on its way, both when
//! an image is saved and when it is loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom, Write};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::effects::docker::archive::header;
use crate::units::hex;

/// Version of the JSON form of [`ImageRecord`].
pub(in crate::effects::docker) const SCHEMA: &str = "dsr1.image/1";
/// Path of the record in the archive.
const RECORD: &str = "dsr1.json";
/// Path of the file that `docker load` reads.
const MANIFEST: &str = "manifest.json";
/// Directory of the blobs.
const BLOBS: &str = "blobs/sha256/";
/// Most bytes of a file that is JSON.
const JSON_LIMIT: u64 = 16 << 20;

/// The description of a saved image, by which another host recognizes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Always `dsr1.image/1`.
    pub schema: String,
    /// Version of dsr1 that wrote it.
    pub dsr1: String,
    /// The image's tag.
    pub tag: String,
    /// Digest of its configuration, which is its id on a daemon that does not store images in containerd.
    pub image_id: String,
    /// `linux/amd64` or `linux/arm64`.
    pub platform: String,
    /// Its labels: stack, versions, base and digest of the base, digest of the inputs.
    pub labels: BTreeMap<String, String>,
    /// SHA-256 of its unpacked layers, from the base up.
    pub layers: Vec<String>,
}

/// A reason why an archive cannot be saved or loaded.
#[derive(Debug)]
pub(in crate::effects::docker) enum Fault {
    /// The file is not an archive of dsr1, or a part is missing.
    Form(String),
    /// The hash of a blob is not its name.
    Hash(String),
    /// The image is for another platform.
    Platform(String),
    /// The tag belongs to another image.
    Taken(String),
    /// The receiver ended the stream.
    HungUp,
    /// The file cannot be read or written.
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        if error.raw_os_error().is_some() {
            Self::Io(error)
        } else if error.kind() == io::ErrorKind::BrokenPipe {
            Self::HungUp
        } else {
            // The error comes from the archive's reader, and not from the disk.
            Self::Form(format!("it is truncated or damaged: {error}"))
        }
    }
}

/// Writes the archive that a daemon exported, with the record, and returns the record as it was written.
///
/// # Errors
/// [`Fault`], when the export is not the image of the record.
pub(in crate::effects::docker) fn save(
    export: impl Read,
    to: impl Write + Seek,
    mut record: ImageRecord,
) -> Result<ImageRecord, Fault> {
    let mut from = tar::Archive::new(export);
    let mut to = tar::Builder::new(to);
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    let mut manifest = None;
    for entry in from.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let size = entry.size();
        let kind = entry.header().entry_type();
        let named = path.strip_suffix(".json").or_else(|| path.strip_prefix(BLOBS));
        if kind.is_file() && path.ends_with("/layer.tar") {
            // The layer is identified by its hash, because the manifest that names it comes last. A layer that was
            // exported before is a link.
            sizes.insert(blob(&mut to, size, &mut entry)?, size);
        } else if let Some(digest) = named.filter(|name| is_digest(name)) {
            let found = blob(&mut to, size, &mut entry)?;
            if found != digest {
                return Err(Fault::Hash(format!("blob {digest}")));
            }
            sizes.insert(found, size);
        } else if path == MANIFEST {
            manifest = Some(json_of(&mut entry)?);
        } else if kind.is_file() && (path == "index.json" || path == "oci-layout") {
            let text = json_of(&mut entry)?;
            file(&mut to, &path, text.to_string().as_bytes())?;
            sizes.insert(path, 0);
        }
    }
    let manifest = manifest.ok_or_else(|| Fault::Form(format!("it has no {MANIFEST}")))?;
    let manifest = if sizes.contains_key("index.json") {
        // A daemon that stores images in containerd uses the digest of the manifest as the id.
        let config = manifest[0]["Config"].as_str().unwrap_or_default();
        record.image_id = format!("sha256:{}", config.trim_start_matches(BLOBS));
        json!([{ "Config": config, "RepoTags": [record.tag], "Layers": manifest[0]["Layers"] }])
    } else {
        layout(&mut to, &record, &sizes)?
    };
    let text = serde_json::to_vec_pretty(&record).map_err(io::Error::other)?;
    file(&mut to, RECORD, &text)?;
    // Last, so that a truncated archive cannot be loaded.
    file(&mut to, MANIFEST, manifest.to_string().as_bytes())?;
    to.into_inner()?.flush()?;
    Ok(record)
}

/// Writes the files that make blobs an OCI image layout; returns the manifest for `docker load`.
fn layout<W: Write + Seek>(
    to: &mut tar::Builder<W>,
    record: &ImageRecord,
    sizes: &BTreeMap<String, u64>,
) -> Result<Value, Fault> {
    let config = record.image_id.trim_start_matches("sha256:");
    let size = |digest: &str| {
        let known = sizes.get(digest).copied();
        known.ok_or_else(|| Fault::Form(format!("blob {digest} is missing")))
    };
    let descriptor = |kind: &str, digest: &str| {
        Ok::<_, Fault>(json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{digest}"),
            "size": size(digest)?,
        }))
    };
    let digests: Vec<&str> = record
        .layers
        .iter()
        .map(|layer| layer.trim_start_matches("sha256:"))
        .collect();
    let layers = digests
        .iter()
        .map(|digest| descriptor("layer.v1.tar", digest))
        .collect::<Result<Vec<_>, _>>()?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", config)?,
        "layers": layers,
    })
    .to_string();
    let digest = hex(&Sha256::digest(&manifest));
    file(to, &format!("{BLOBS}{digest}"), manifest.as_bytes())?;
    let (os, architecture) = record.platform.split_once('/').unwrap_or(("linux", "amd64"));
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{digest}"),
            "size": manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": record.tag},
            "platform": {"os": os, "architecture": architecture},
        }],
    });
    file(to, "index.json", index.to_string().as_bytes())?;
    file(to, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(json!([{
        "Config": format!("{BLOBS}{config}"),
        "RepoTags": [record.tag],
        "Layers": digests.iter().map(|digest| format!("{BLOBS}{digest}")).collect::<Vec<_>>(),
    }]))
}

/// Reads an archive to its end, verifies it, and writes its verified parts as a new archive. Bytes of the old one that
/// another reader might interpret differently, in headers or behind its end, are not copied. The manifest, without which
/// `docker load` loads nothing, is written last and only if `approve` agrees.
///
/// # Errors
/// [`Fault`]; the written archive is not an image then.
pub(in crate::effects::docker) fn verify(
    archive: impl Read,
    to: impl Write,
    approve: impl FnOnce(&ImageRecord) -> Result<(), Fault>,
) -> Result<ImageRecord, Fault> {
    let mut archive = tar::Archive::new(archive);
    let mut to = tar::Builder::new(to);
    let (mut record, mut manifest) = (None, None);
    let mut blobs = BTreeSet::new();
    let mut small = Small::default();
    // Raw, because extensions of the format would be read into memory, and readers disagree about them.
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(Fault::Form(format!("`{}` is not a file", path.escape_debug())));
        }
        let size = entry.size();
        match path.strip_prefix(BLOBS).filter(|name| is_digest(name)) {
            Some(digest) => {
                let mut hashing = Hashing {
                    from: &mut entry,
                    hash: Sha256::new(),
                    kept: small.room(size),
                };
                to.append_data(&mut header(size), &path, &mut hashing)?;
                if hex(&hashing.hash.finalize()) != digest {
                    return Err(Fault::Hash(format!("blob {digest}")));
                }
                small.keep(digest, hashing.kept);
                if !blobs.insert(digest.to_owned()) {
                    return Err(Fault::Form(format!("it holds `{path}` twice")));
                }
            }
            None if path == RECORD => {
                let parsed = serde_json::from_value::<ImageRecord>(json_of(&mut entry)?)
                    .map_err(|error| Fault::Form(error.to_string()))?;
                record = Some(parsed);
            }
            None if path == MANIFEST => manifest = Some(json_of(&mut entry)?),
            None if path == "index.json" || path == "oci-layout" => {}
            None => return Err(Fault::Form(format!("it holds `{}`", path.escape_debug()))),
        }
    }
    let record = record.ok_or_else(|| Fault::Form(format!("it has no {RECORD}: dsr1 did not write it")))?;
    let layers = check(&record, &manifest.unwrap_or_default(), &blobs, &small)?;
    approve(&record)?;
    let manifest = json!([{
        "Config": format!("{BLOBS}{}", record.image_id.trim_start_matches("sha256:")),
        "RepoTags": [record.tag],
        "Layers": layers.iter().map(|digest| format!("{BLOBS}{digest}")).collect::<Vec<_>>(),
    }]);
    file(&mut to, MANIFEST, manifest.to_string().as_bytes())?;
    to.into_inner()?.flush()?;
    Ok(record)
}

/// Checks that manifest, configuration and record describe the same image; returns its layers.
fn check(
    record: &ImageRecord,
    manifest: &Value,
    blobs: &BTreeSet<String>,
    small: &Small,
) -> Result<Vec<String>, Fault> {
    let form = |what: &str| Err(Fault::Form(what.to_owned()));
    if record.schema != SCHEMA {
        return Err(Fault::Form(format!(
            "its record has schema `{}`",
            record.schema.escape_debug()
        )));
    }
    let [image] = manifest.as_array().map(Vec::as_slice).unwrap_or_default() else {
        return form("it is truncated, or holds more than one image");
    };
    if image["RepoTags"] != json!([record.tag]) {
        return form("its manifest names another image than its record");
    }
    let digest = |path: &Value| {
        let path = path.as_str().unwrap_or_default();
        let digest = path.strip_prefix(BLOBS).filter(|digest| blobs.contains(*digest));
        let missing = || Fault::Form(format!("`{}` is missing", path.escape_debug()));
        digest.map(str::to_owned).ok_or_else(missing)
    };
    let layers: Vec<String> = image["Layers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(digest)
        .collect::<Result<_, _>>()?;
    let config = digest(&image["Config"])?;
    if record.image_id != format!("sha256:{config}") {
        return form("its record names another image id than its configuration has");
    }
    let config: Value = match small.0.get(&config).map(|bytes| serde_json::from_slice(bytes)) {
        Some(Ok(config)) => config,
        _ => return form("its configuration cannot be read"),
    };
    let text = |key: &str| config[key].as_str().unwrap_or_default();
    let same = [
        json!(format!("{}/{}", text("os"), text("architecture"))) == json!(record.platform),
        config["rootfs"]["diff_ids"] == json!(record.layers),
        config["config"]["Labels"]
            .as_object()
            .map_or(0, serde_json::Map::len)
            == record.labels.len(),
        record
            .labels
            .iter()
            .all(|(key, value)| config["config"]["Labels"][key] == json!(value)),
        layers.len() == record.layers.len(),
    ];
    if same.contains(&false) {
        return form("its record and its configuration differ");
    }
    Ok(layers)
}

/// The content of blobs that may be a configuration: small ones, up to a total size.
#[derive(Default)]
struct Small(BTreeMap<String, Vec<u8>>, u64);

impl Small {
    /// Returns a buffer for a blob of `size` bytes, if there is room for it.
    fn room(&mut self, size: u64) -> Option<Vec<u8>> {
        let fits = size <= JSON_LIMIT / 16 && self.1 + size <= JSON_LIMIT;
        fits.then(|| {
            self.1 += size;
            Vec::new()
        })
    }

    fn keep(&mut self, digest: &str, bytes: Option<Vec<u8>>) {
        self.0.extend(bytes.map(|bytes| (digest.to_owned(), bytes)));
    }
}

/// Writes a blob and returns its hash. The name of a blob is its hash, which is known only after it is written: so its
/// header is written twice.
fn blob<W: Write + Seek>(to: &mut tar::Builder<W>, size: u64, from: &mut impl Read) -> Result<String, Fault> {
    let begin = to.get_mut().stream_position()?;
    let mut hashing = Hashing {
        from,
        hash: Sha256::new(),
        kept: None,
    };
    to.append_data(
        &mut header(size),
        format!("{BLOBS}{}", "0".repeat(64)),
        &mut hashing,
    )?;
    let digest = hex(&hashing.hash.finalize());
    let mut named = header(size);
    named.set_path(format!("{BLOBS}{digest}"))?;
    named.set_cksum();
    let file = to.get_mut();
    let end = file.stream_position()?;
    file.seek(SeekFrom::Start(begin))?;
    file.write_all(named.as_bytes())?;
    file.seek(SeekFrom::Start(end))?;
    Ok(digest)
}

fn file<W: Write>(to: &mut tar::Builder<W>, path: &str, bytes: &[u8]) -> io::Result<()> {
    to.append_data(&mut header(bytes.len() as u64), path, bytes)
}

fn json_of(from: &mut impl Read) -> Result<Value, Fault> {
    let mut text = Vec::new();
    from.take(JSON_LIMIT + 1).read_to_end(&mut text)?;
    if text.len() as u64 > JSON_LIMIT {
        return Err(Fault::Form("a description in it is too large".to_owned()));
    }
    serde_json::from_slice(&text).map_err(|error| Fault::Form(error.to_string()))
}

fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}

/// A reader that hashes the bytes, and keeps them if `kept` is given.
struct Hashing<'a, R> {
    from: &'a mut R,
    hash: Sha256,
    kept: Option<Vec<u8>>,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        self.hash.update(&into[..count]);
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(&into[..count]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(bytes: &[u8]) -> String {
        hex(&Sha256::digest(bytes))
    }

    /// Returns the record of an archive and the verified copy.
    fn verified(archive: &[u8]) -> Result<(ImageRecord, Vec<u8>), Fault> {
        let mut written = Vec::new();
        verify(archive, &mut written, |_| Ok(())).map(|record| (record, written))
    }

    fn config(layers: &[&[u8]]) -> Vec<u8> {
        let layers: Vec<String> = layers
            .iter()
            .map(|layer| format!("sha256:{}", digest(layer)))
            .collect();
        json!({
            "os": "linux", "architecture": "amd64", "rootfs": { "diff_ids": layers },
            "config": { "Labels": { "a": "b" } },
        })
        .to_string()
        .into_bytes()
    }

    fn record(config: &[u8], layers: &[&[u8]]) -> ImageRecord {
        ImageRecord {
            schema: SCHEMA.to_owned(),
            dsr1: "1".to_owned(),
            tag: "dsr1/cpu:1".to_owned(),
            image_id: format!("sha256:{}", digest(config)),
            platform: "linux/amd64".to_owned(),
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            layers: layers
                .iter()
                .map(|layer| format!("sha256:{}", digest(layer)))
                .collect(),
        }
    }

    /// An archive as Docker 20.10 exports it: a directory for each layer, and a link for a layer that occurs twice.
    fn export(config: &[u8], layers: &[&[u8]]) -> Vec<u8> {
        let mut to = tar::Builder::new(Vec::new());
        for (index, layer) in layers.iter().enumerate() {
            file(&mut to, &format!("{index}/VERSION"), b"1.0").unwrap();
            let first = layers.iter().position(|one| one == layer).unwrap();
            if first == index {
                file(&mut to, &format!("{index}/layer.tar"), layer).unwrap();
            } else {
                let mut header = header(0);
                header.set_entry_type(tar::EntryType::Symlink);
                let target = format!("../{first}/layer.tar");
                to.append_link(&mut header, format!("{index}/layer.tar"), target)
                    .unwrap();
            }
        }
        file(&mut to, &format!("{}.json", digest(config)), config).unwrap();
        file(&mut to, MANIFEST, br#"[{"Config":"x"}]"#).unwrap();
        to.into_inner().unwrap()
    }

    fn written(export: &[u8], record: &ImageRecord) -> Result<Vec<u8>, Fault> {
        let mut archive = io::Cursor::new(Vec::new());
        save(export, &mut archive, record.clone())?;
        Ok(archive.into_inner())
    }

    fn saved(layers: &[&[u8]]) -> Vec<u8> {
        let config = config(layers);
        written(&export(&config, layers), &record(&config, layers)).unwrap()
    }

    #[test]
    fn an_export_becomes_a_layout_that_can_be_verified() {
        let layers: [&[u8]; 3] = [b"base", b"empty", b"empty"];
        let archive = saved(&layers);
        let expected = record(&config(&layers), &layers);
        assert_eq!(verified(&archive).unwrap().0, expected);
        // A newer daemon exports such a layout already, with another id.
        let theirs = ImageRecord {
            image_id: format!("sha256:{}", "0".repeat(64)),
            ..expected.clone()
        };
        let again = written(&archive, &theirs).unwrap();
        assert_eq!(verified(&again).unwrap().0, expected);
    }

    /// The daemon gets verified bytes only, and none from behind the end or from an extension.
    #[test]
    fn bytes_that_are_not_verified_are_not_sent() {
        let mut archive = saved(&[b"base"]);
        let clean = verified(&archive).unwrap().1;
        archive.extend(b"another archive");
        assert_eq!(verified(&archive).unwrap().1, clean);
        for kind in [
            tar::EntryType::GNULongName,
            tar::EntryType::XHeader,
            tar::EntryType::Symlink,
        ] {
            let mut to = tar::Builder::new(Vec::new());
            let mut extension = header(1 << 40);
            extension.set_entry_type(kind);
            extension.set_path("x").unwrap();
            extension.set_cksum();
            to.get_mut().extend_from_slice(extension.as_bytes());
            assert!(matches!(verified(to.get_ref()), Err(Fault::Form(_))), "{kind:?}");
        }
    }

    #[test]
    fn a_record_of_another_image_is_refused() {
        let layers: [&[u8]; 1] = [b"base"];
        let bytes = config(&layers);
        let right = record(&bytes, &layers);
        let changes: [fn(&mut ImageRecord); 5] = [
            |record| record.platform = "linux/arm64".to_owned(),
            |record| record.labels.clear(),
            |record| drop(record.labels.insert("more".to_owned(), String::new())),
            |record| record.layers.clear(),
            |record| record.schema = "x/1".to_owned(),
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut record = right.clone();
            change(&mut record);
            let archive = written(&export(&bytes, &layers), &record).unwrap();
            assert!(
                matches!(verified(&archive), Err(Fault::Form(_))),
                "change {index}"
            );
        }
        let archive = saved(&layers);
        let refused = verify(archive.as_slice(), io::sink(), |_| {
            Err(Fault::Taken("x".to_owned()))
        });
        assert!(matches!(refused, Err(Fault::Taken(_))));
    }

    #[test]
    fn a_flipped_bit_is_found_wherever_it_is() {
        let layers: [&[u8]; 1] = [b"a layer of an image"];
        let archive = saved(&layers);
        for text in [&b"a layer of"[..], b"diff_ids", b"io.dsr1", b"blobs/sha256/"] {
            let found = archive.windows(text.len()).position(|window| window == text);
            let Some(at) = found else { continue };
            let mut broken = archive.clone();
            broken[at] ^= 1;
            assert!(verified(&broken).is_err(), "{}", String::from_utf8_lossy(text));
        }
        assert!(matches!(
            written(
                &export(&config(&layers), &[b"other"]),
                &record(&config(&layers), &layers)
            ),
            Err(Fault::Form(_))
        ));
    }

    #[test]
    fn a_truncated_archive_is_refused() {
        let archive = saved(&[b"base"]);
        for end in (0..archive.len()).step_by(512) {
            let whole = archive[end..].iter().all(|byte| *byte == 0);
            assert_eq!(
                verified(&archive[..end]).is_ok(),
                whole,
                "{end} of {}",
                archive.len()
            );
        }
    }

    #[test]
    fn an_archive_of_another_tool_is_refused() {
        assert!(matches!(
            verified(&export(b"{}", &[b"base"])),
            Err(Fault::Form(_))
        ));
    }
}
