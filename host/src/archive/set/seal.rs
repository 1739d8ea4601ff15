//! The manifest as bytes, with a checksum over them.
//!
//! The file is one JSON object whose last key is `checksum`: the BLAKE3 hash of all bytes in front of that key's line.
//! Over bytes and not over values, so that any flipped bit is found, and so that it can be checked with
//! `head -n -2 manifest.json | b3sum`.

use serde::Deserialize;

use super::{FORMAT, SetManifest};
use crate::error::{Error, ErrorKind, Result, ResultExt};

/// What stands between the hashed bytes and the hash.
const BEFORE: &str = "  \"checksum\": \"blake3:";
const AFTER: &str = "\"\n}\n";
const HEX: usize = 64;

/// The only key that is read from a manifest whose checksum does not fit.
#[derive(Deserialize)]
struct FormatOnly {
    format: String,
}

/// The manifest as the bytes to store.
///
/// # Errors
/// If the manifest names something twice or unsafely.
pub fn seal(manifest: &SetManifest) -> Result<Vec<u8>> {
    manifest.validate()?;
    let json = serde_json::to_string_pretty(manifest)
        .or_error(ErrorKind::Internal, || format!("cannot write the manifest of set {}", manifest.id))?;
    let body = json
        .strip_suffix("\n}")
        .ok_or_else(|| Error::new(ErrorKind::Internal, "the manifest did not become a JSON object"))?;
    let body = format!("{body},\n");
    let hash = blake3::hash(body.as_bytes()).to_hex();
    Ok(format!("{body}{BEFORE}{hash}{AFTER}").into_bytes())
}

/// Reads a stored manifest.
///
/// # Errors
/// `Damaged` if a byte of it is not what was written, or if its format is newer than this program.
pub fn open(bytes: &[u8]) -> Result<SetManifest> {
    let format = serde_json::from_slice::<FormatOnly>(bytes).map(|f| f.format).ok();
    if let Some(format) = &format
        && major(format) != major(FORMAT)
    {
        let shown: String = format.chars().take(20).collect();
        return Err(Error::new(
            ErrorKind::Damaged,
            format!("the manifest has the format `{}`, and this bkhost reads {FORMAT}", shown.escape_debug()),
        )
        .hint("read this set with the version of bkhost that made it, or with a newer one"));
    }
    if !checksum_fits(bytes) {
        return Err(Error::new(ErrorKind::Damaged, "the manifest is not what was written: its checksum does not fit")
            .hint("do not use this set; look for errors of the disk that holds the store"));
    }
    let manifest: SetManifest =
        serde_json::from_slice(bytes).or_error(ErrorKind::Damaged, || "the manifest lacks something")?;
    manifest.validate()?;
    Ok(manifest)
}

fn checksum_fits(bytes: &[u8]) -> bool {
    let parts = || {
        let rest = bytes.strip_suffix(AFTER.as_bytes())?;
        let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(HEX)?)?;
        Some((rest.strip_suffix(BEFORE.as_bytes())?, hash))
    };
    parts().is_some_and(|(body, hash)| blake3::hash(body).to_hex().as_bytes() == hash)
}

fn major(format: &str) -> Option<u32> {
    format.split('.').next()?.parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::archive::set::*;

    pub(crate) fn manifest(id: &str) -> SetManifest {
        let at: jiff::Timestamp = "2026-11-21T01:42:00Z".parse().unwrap();
        SetManifest {
            format: FORMAT.to_owned(),
            id: id.parse().unwrap(),
            instance: "bitbucket".to_owned(),
            created: at,
            duration_ms: 61_000,
            made_by: MadeBy { bkhost: "0.1.0".into(), wasmtime: "48.0.8".into(), host: "db1".into(), machine: None },
            application: ApplicationRecord {
                kind: "bitbucket".into(),
                url: Some("http://127.0.0.1:7990".into()),
                version: Some("8.19.1".into()),
                mode: LockMode::Locked,
                locked_ms: 2310,
                drain_ms: 2000,
            },
            skew_ms: 12,
            parts: vec![PartRecord {
                name: "home".into(),
                plugin: "zfs".into(),
                plugin_version: "0.1.0".into(),
                plugin_sha256: "ab".repeat(32),
                kind: "disk".into(),
                before: Vec::new(),
                config: serde_json::json!({ "datasets": ["tank/home"] }),
                identity: None,
                snapshot: SnapshotRecord {
                    id: "tank/home@bkhost-bitbucket-x".into(),
                    created: at,
                    consistency: Consistency::Atomic,
                    bytes: Some(7),
                    versions: vec![("zfs".into(), "2.2".into())],
                    state: serde_json::json!({ "z": 1, "a": [0.1, "é\u{1f}"] }),
                    base: None,
                },
                sources: vec![SourceRecord { name: "home".into(), form: SourceForm::Tree, bytes: 5 }],
                objects: vec![ObjectRecord {
                    file: data_file("home", ".zst"),
                    role: ObjectRole::Data,
                    source: None,
                    bytes: 5,
                    content_bytes: 10,
                    blake3: blake3::hash(b"hello").to_hex().to_string(),
                }],
                left_out: None,
                entries: 1,
                changed: ChangedFiles::default(),
                warnings: Vec::new(),
            }],
            warnings: Vec::new(),
            proved: Proof { at, how: "every object read back and hashed".into() },
        }
    }

    const ID: &str = "20261121-014200-4f2a9c";

    #[test]
    fn round_trip_and_shape() {
        let manifest = manifest(ID);
        let bytes = seal(&manifest).unwrap();
        assert_eq!(open(&bytes).unwrap(), manifest);
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["format"], "1.0");
        assert_eq!(json["created"], "2026-11-21T01:42:00Z");
        assert_eq!(json["application"]["locked-ms"], 2310);
        assert_eq!(json["application"]["mode"], "locked");
        assert_eq!(json["parts"][0]["snapshot"]["state"]["z"], 1);
        assert_eq!(json["parts"][0]["objects"][0]["content-bytes"], 10);
        assert!(json["checksum"].as_str().unwrap().starts_with("blake3:"));
    }

    #[test]
    fn the_checksum_is_that_of_the_lines_before_it() {
        let bytes = seal(&manifest(ID)).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let body = lines[..lines.len() - 2].concat();
        assert!(text.contains(blake3::hash(body.as_bytes()).to_hex().as_str()));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let good = seal(&manifest(ID)).unwrap();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert_eq!(open(&bad).unwrap_err().kind(), ErrorKind::Damaged, "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn every_cut_is_found() {
        let good = seal(&manifest(ID)).unwrap();
        for len in 0..good.len() {
            assert_eq!(open(&good[..len]).unwrap_err().kind(), ErrorKind::Damaged, "{len}");
        }
        let longer = [good.as_slice(), b"\n"].concat();
        assert_eq!(open(&longer).unwrap_err().kind(), ErrorKind::Damaged);
    }

    /// A manifest with another body and a checksum that fits.
    fn resealed(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let mut json = serde_json::to_value(manifest(ID)).unwrap();
        change(&mut json);
        let json = serde_json::to_string_pretty(&json).unwrap();
        let body = format!("{},\n", json.strip_suffix("\n}").unwrap());
        format!("{body}{BEFORE}{}{AFTER}", blake3::hash(body.as_bytes()).to_hex()).into_bytes()
    }

    #[test]
    fn formats() {
        let newer = open(&resealed(|m| m["format"] = "2.0".into())).unwrap_err();
        assert!(newer.message().contains("format `2.0`"), "{newer}");
        assert!(newer.hint_text().unwrap().contains("newer"));
        for other in ["", "x", "0.9", "11.0"] {
            assert!(open(&resealed(|m| m["format"] = other.into())).is_err(), "{other}");
        }
        // A later minor version only adds.
        let added = open(&resealed(|m| {
            m["format"] = "1.7".into();
            m["drilled"] = true.into();
        }));
        assert_eq!(added.unwrap().format, "1.7");
    }

    #[test]
    fn unsafe_or_doubled_names_are_refused() {
        for file in
            ["../x.zst", "/etc/x.zst", "a/b.zst", ".x.zst", "", "manifest.json", "x", "a\nb.zst", &"x".repeat(300)]
        {
            let bytes = resealed(|m| m["parts"][0]["objects"][0]["file"] = file.into());
            assert_eq!(open(&bytes).unwrap_err().kind(), ErrorKind::Damaged, "{file}");
        }
        assert!(open(&resealed(|m| m["instance"] = "..".into())).is_err());
        assert!(open(&resealed(|m| m["parts"][0]["name"] = "a/b".into())).is_err());
        assert!(open(&resealed(|m| m["parts"] = serde_json::json!([]))).is_err());
        let mut twice = manifest(ID);
        twice.parts.push(twice.parts[0].clone());
        assert!(seal(&twice).unwrap_err().message().contains("two parts `home`"));
        twice.parts[1].name = "database".into();
        assert!(seal(&twice).unwrap_err().message().contains("home.tar.zst` twice"));
    }

    #[test]
    fn changed_files_are_capped_but_counted() {
        let mut changed = ChangedFiles::default();
        for n in 0..1000 {
            changed.push(format!("f{n}"));
        }
        assert_eq!((changed.total, changed.files.len()), (1000, MAX_CHANGED));
    }

    #[test]
    fn a_part_that_has_to_be_the_older_one_is() {
        let mut set = manifest("20261121-014200-4f2a9c");
        let mut first = set.parts[0].clone();
        first.name = "metadata".to_owned();
        first.kind = "database".to_owned();
        first.before = vec!["disk".to_owned()];
        first.objects.clear();
        set.parts.push(first);
        set.validate().unwrap();
        set.parts[1].snapshot.created = "2026-11-21T01:42:00.001Z".parse().unwrap();
        let error = set.validate().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.message().contains("part `home` captured at") && error.message().contains("part `metadata`"));
        set.parts[0].kind = "search".to_owned();
        set.validate().unwrap();
    }
}
