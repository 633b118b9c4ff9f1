//! Images as files: an OCI image layout in one tar archive, which `docker load` of every version reads too.
//!
//! Docker before 25 exports a form of its own; it is rewritten while it streams. Every blob is hashed on its way, out
//! and in. Not in this module: asking the daemon (`images`).

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::header;
use crate::units::hex;

/// Version of the JSON form of [`ImageRecord`].
pub(in crate::engine::docker) const SCHEMA: &str = "dsr1.image/1";
/// Where the record lies in the archive.
const RECORD: &str = "dsr1.json";
/// Where `docker load` looks.
const MANIFEST: &str = "manifest.json";
/// Where blobs lie.
const BLOBS: &str = "blobs/sha256/";
/// Most bytes of a file that is JSON.
const JSON_LIMIT: u64 = 16 << 20;

/// What a saved image is: enough to know it again on another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Always `dsr1.image/1`.
    pub schema: String,
    /// Version of dsr1 that wrote it.
    pub dsr1: String,
    /// The image's tag.
    pub tag: String,
    /// Its id on the host that saved it.
    pub image_id: String,
    /// `linux/amd64` or `linux/arm64`.
    pub platform: String,
    /// Its labels: stack, versions, base and digest of the base, digest of the inputs.
    pub labels: BTreeMap<String, String>,
    /// SHA-256 of its layers as they are unpacked, from the base up.
    pub layers: Vec<String>,
}

/// What is wrong with an archive.
#[derive(Debug)]
pub(in crate::engine::docker) enum Fault {
    /// It is not one of ours, or something is missing.
    Form(String),
    /// A blob is not what its name says.
    Hash(String),
    /// It is for another platform.
    Platform(String),
    /// It cannot be read or written.
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes what a daemon exported, with the record.
///
/// # Errors
/// [`Fault`], when the export is not the image of the record.
pub(in crate::engine::docker) fn save(
    export: impl Read,
    to: impl Write + Seek,
    record: &ImageRecord,
) -> Result<(), Fault> {
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
            // Which layer it is stands in the manifest, which comes last: its hash tells. One that was exported before
            // is a link.
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
        manifest
    } else {
        layout(&mut to, record, &sizes)?
    };
    let text = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
    file(&mut to, RECORD, &text)?;
    // Last: nothing can be loaded from an archive that breaks off.
    file(&mut to, MANIFEST, manifest.to_string().as_bytes())?;
    to.into_inner()?.flush()?;
    Ok(())
}

/// Writes the files that make blobs an OCI image layout; gives the manifest for `docker load`.
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

/// Reads an archive to its end and proves it: every blob has the hash that it is named by, and what `docker load` will
/// take is there. Reading alone sends nothing anywhere; a reader that hands on what is read makes it one pass.
///
/// # Errors
/// [`Fault`].
pub(in crate::engine::docker) fn prove(archive: impl Read) -> Result<ImageRecord, Fault> {
    let mut archive = tar::Archive::new(archive);
    let (mut record, mut manifest) = (None, None);
    let mut blobs = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        if !entry.header().entry_type().is_file() {
            return Err(Fault::Form(format!("`{}` is not a file", path.escape_debug())));
        }
        match path.strip_prefix(BLOBS) {
            Some(digest) => {
                let mut hashing = Hashing {
                    from: &mut entry,
                    hash: Sha256::new(),
                };
                io::copy(&mut hashing, &mut io::sink())?;
                if hex(&hashing.hash.finalize()) != digest {
                    return Err(Fault::Hash(format!("blob {}", digest.escape_debug())));
                }
                blobs.push(path);
            }
            None if path == RECORD => {
                let value = json_of(&mut entry)?;
                let parsed = serde_json::from_value::<ImageRecord>(value)
                    .map_err(|error| Fault::Form(error.to_string()))?;
                record = Some(parsed);
            }
            None if path == MANIFEST => manifest = Some(json_of(&mut entry)?),
            None if path == "index.json" || path == "oci-layout" => {}
            None => return Err(Fault::Form(format!("it holds `{}`", path.escape_debug()))),
        }
    }
    let record = record.ok_or_else(|| Fault::Form(format!("it has no {RECORD}: dsr1 did not write it")))?;
    if record.schema != SCHEMA {
        return Err(Fault::Form(format!(
            "its record has schema `{}`",
            record.schema.escape_debug()
        )));
    }
    let manifest = manifest.unwrap_or_default();
    let [image] = manifest.as_array().map(Vec::as_slice).unwrap_or_default() else {
        return Err(Fault::Form(
            "it breaks off, or holds more than one image".to_owned(),
        ));
    };
    if image["RepoTags"] != json!([record.tag]) {
        return Err(Fault::Form(
            "its manifest names another image than its record".to_owned(),
        ));
    }
    let layers = image["Layers"].as_array().cloned().unwrap_or_default();
    for path in layers.iter().chain([&image["Config"]]) {
        let path = path.as_str().unwrap_or_default();
        if !blobs.iter().any(|known| known == path) {
            return Err(Fault::Form(format!("`{}` is missing", path.escape_debug())));
        }
    }
    Ok(record)
}

/// Writes a blob and gives its hash. Its name is its hash, which is known when it is written: its header is written
/// twice.
fn blob<W: Write + Seek>(to: &mut tar::Builder<W>, size: u64, from: &mut impl Read) -> Result<String, Fault> {
    let begin = to.get_mut().stream_position()?;
    let mut hashing = Hashing {
        from,
        hash: Sha256::new(),
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
    from.take(JSON_LIMIT).read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(|error| Fault::Form(error.to_string()))
}

fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
}

/// Hashes what is read.
struct Hashing<'a, R> {
    from: &'a mut R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(into)?;
        self.hash.update(&into[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(bytes: &[u8]) -> String {
        hex(&Sha256::digest(bytes))
    }

    fn record(config: &[u8], layers: &[&[u8]]) -> ImageRecord {
        ImageRecord {
            schema: SCHEMA.to_owned(),
            dsr1: "1".to_owned(),
            tag: "dsr1/cpu:1".to_owned(),
            image_id: format!("sha256:{}", digest(config)),
            platform: "linux/amd64".to_owned(),
            labels: BTreeMap::new(),
            layers: layers
                .iter()
                .map(|layer| format!("sha256:{}", digest(layer)))
                .collect(),
        }
    }

    /// As Docker 20.10 exports: a directory for each layer, a link for one that is there twice.
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
        save(export, &mut archive, record)?;
        Ok(archive.into_inner())
    }

    fn saved(config: &[u8], layers: &[&[u8]]) -> Vec<u8> {
        written(&export(config, layers), &record(config, layers)).unwrap()
    }

    #[test]
    fn an_export_becomes_a_layout_that_proves_itself() {
        let layers: [&[u8]; 3] = [b"base", b"empty", b"empty"];
        let archive = saved(b"{}", &layers);
        assert_eq!(prove(archive.as_slice()).unwrap(), record(b"{}", &layers));
        // What a newer daemon exports is such a layout already: it goes through as it is.
        let again = written(&archive, &record(b"{}", &layers)).unwrap();
        assert_eq!(prove(again.as_slice()).unwrap(), record(b"{}", &layers));
    }

    #[test]
    fn a_flipped_bit_is_found_wherever_it_is() {
        let layers: [&[u8]; 1] = [b"a layer of an image"];
        let archive = saved(b"{\"config\":1}", &layers);
        for text in [
            &b"a layer of"[..],
            b"{\"config\":1}",
            b"io.dsr1",
            b"blobs/sha256/",
        ] {
            let found = archive.windows(text.len()).position(|window| window == text);
            let Some(at) = found else { continue };
            let mut broken = archive.clone();
            broken[at] ^= 1;
            assert!(
                prove(broken.as_slice()).is_err(),
                "{}",
                String::from_utf8_lossy(text)
            );
        }
        assert!(matches!(
            written(&export(b"{}", &[b"other"]), &record(b"{}", &layers)),
            Err(Fault::Form(_))
        ));
    }

    #[test]
    fn an_archive_that_breaks_off_is_none() {
        let archive = saved(b"{}", &[b"base"]);
        for end in (0..archive.len()).step_by(512) {
            let whole = archive[end..].iter().all(|byte| *byte == 0);
            assert_eq!(
                prove(&archive[..end]).is_ok(),
                whole,
                "{end} of {}",
                archive.len()
            );
        }
    }

    #[test]
    fn an_archive_of_another_tool_is_refused() {
        assert!(matches!(
            prove(export(b"{}", &[b"base"]).as_slice()),
            Err(Fault::Form(_))
        ));
    }
}
