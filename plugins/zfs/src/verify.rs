//! What ZFS's own tool says to the archived streams: it reads each to its end, and computes the checksums in it.
//!
//! `zstreamdump` (in OpenZFS another name of `zstream dump`) ends with status 0 whatever it finds: what it prints decides.

use bkhost_sdk::{Archived, Error, ErrorCode, Finding, Result, archive, exec};

use crate::{State, stream};

/// Read every stream that is given, and see that each goes on where the one before it ends.
///
/// # Errors
/// A stream is not in its set; the tool cannot be run, or says nothing that is known here.
pub(crate) fn verify(state: &State, archived: &[Archived]) -> Result<Vec<Finding>> {
    if !state.has_streams() {
        return Ok(vec![Finding::info("zfs", "files: bkhost itself has compared each with the index")]);
    }
    let mut findings = Vec::new();
    for captured in &state.datasets {
        // Before a set is published, none of those on which it builds is given.
        let given = |set: &str| archived.iter().any(|item| item.set == set);
        let pieces: Vec<_> =
            captured.pieces().iter().filter(|piece| piece.set.as_deref().is_none_or(given)).cloned().collect();
        // A full stream starts from nothing.
        let mut reached = (pieces.len() == captured.pieces().len()).then_some(0);
        for item in stream::find(&captured.dataset, &pieces, archived)? {
            let subject = format!("stream {} of set {}", item.name, item.set);
            let Some(output) = dump(item)? else {
                return Ok(vec![
                    Finding::warning("zstreamdump", "is not installed: ZFS's own tool has not read the streams")
                        .hint("it comes with the tools of ZFS; a drill receives the streams"),
                ]);
            };
            let dump = Dump::parse(&output.stdout);
            let fault = match (&dump, output.status) {
                (_, status) if status != 0 => Some(said(&output)),
                (None, _) => return Err(Error::other(format!("zstreamdump did not end with its sums: {subject}"))),
                (Some(dump), _) => dump.fault(item.bytes, reached),
            };
            reached = dump.filter(|_| fault.is_none()).map(|dump| dump.to);
            findings.push(match fault {
                Some(fault) => Finding::failure(subject, fault).hint("restore from another set"),
                None => Finding::info(subject, "zstreamdump reads it to its end"),
            });
        }
        let guid = captured.guid.as_deref().and_then(|guid| guid.parse::<u64>().ok());
        if let (Some(reached), Some(guid)) = (reached, guid)
            && reached != guid
        {
            findings.push(Finding::failure(
                format!("dataset {}", captured.dataset),
                format!("its streams lead to a snapshot with the guid {reached}, and not to the captured one, {guid}"),
            ));
        }
    }
    Ok(findings)
}

/// Feed a stream to the tool; none if there is no such tool, here or where the part's commands are run.
fn dump(item: &Archived) -> Result<Option<exec::Output>> {
    match archive::feed_from(item, exec::command("dump")) {
        Ok(output) if output.status == 127 => Ok(None),
        Err(error) if error.code == ErrorCode::NotFound && error.message.contains("zstreamdump") => Ok(None),
        outcome => outcome.map(Some),
    }
}

fn said(output: &exec::Output) -> String {
    let lines = output.stderr.lines().chain(output.stdout.lines());
    let said = lines.map(str::trim).find(|line| ["nvalid", "NVALID"].iter().any(|word| line.contains(word)));
    format!("zstreamdump: {}", said.map_or_else(|| output.failure().message, str::to_owned))
}

/// What the tool prints of a stream that holds one snapshot.
#[derive(Debug, Default, PartialEq, Eq)]
struct Dump {
    /// A checksum that is not the one computed.
    wrong: bool,
    /// The stream is wrapped in one that carries properties, which has an end record of its own.
    compound: bool,
    /// The guid of the snapshot that it starts from; 0: none.
    from: u64,
    /// The guid of the snapshot in it.
    to: u64,
    begins: u64,
    ends: u64,
    /// How many bytes were understood.
    length: u64,
}

impl Dump {
    /// None without the sums at the end.
    fn parse(stdout: &str) -> Option<Self> {
        let mut dump = Self::default();
        let mut length = None;
        for line in stdout.lines() {
            dump.wrong |= ["Expected checksum differs", "Incorrect checksum"].iter().any(|text| line.starts_with(text));
            let Some((name, value)) = line.trim().split_once(" = ") else { continue };
            let value = value.split(' ').next().unwrap_or_default();
            match name {
                "hdrtype" => dump.compound |= value == "2",
                // Those of the last one count: the wrapping has none.
                "fromguid" => dump.from = u64::from_str_radix(value, 16).ok()?,
                "toguid" => dump.to = u64::from_str_radix(value, 16).ok()?,
                "Total DRR_BEGIN records" => dump.begins = value.parse().ok()?,
                "Total DRR_END records" => dump.ends = value.parse().ok()?,
                "Total stream length" => length = Some(value.parse().ok()?),
                _ => {}
            }
        }
        dump.length = length?;
        Some(dump)
    }

    /// What is wrong with a stream of so many bytes that goes on from this snapshot, if that is known.
    fn fault(&self, bytes: u64, reached: Option<u64>) -> Option<String> {
        let ends = self.begins.saturating_add(u64::from(self.compound));
        if self.wrong {
            return Some("zstreamdump: a checksum in it is not that of its data".to_owned());
        }
        if self.begins == 0 || self.ends != ends {
            return Some(format!("zstreamdump: it is cut off: {} of {} end records", self.ends, ends.max(1)));
        }
        if self.length != bytes {
            return Some(format!("zstreamdump: {} of its {bytes} bytes are a stream", self.length));
        }
        match reached {
            Some(reached) if reached != self.from => Some(format!(
                "it starts from a snapshot with the guid {}, and the stream before it leads to {reached}",
                self.from
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bkhost_sdk::exec::{Command, Output};
    use bkhost_sdk::testing::{self, Host, Part};
    use bkhost_sdk::{ArchivedForm, Severity};

    use super::*;
    use crate::Captured;
    use crate::stream::{Piece, Stream};

    /// zfs-fuse 0.7.0 of a stream that was sent with `-p`; recorded, without the properties.
    const FUSE: &str = "BEGIN record\n\thdrtype = 2\n\tfeatures = 0\n\tmagic = 2f5bacbac\n\tcreation_time = 0\n\ttype = 0\n\tflags = 0x0\n\ttoguid = 0\n\tfromguid = 0\n\ttoname = tank/a@1\nnvlist version: 0\n\ttosnap = 1\nEND checksum = e08188af0/47262384000/f4dcaa3d549b/2bac42b4b07cc4\nBEGIN record\n\thdrtype = 1\n\tfeatures = 0\n\tmagic = 2f5bacbac\n\tcreation_time = 6b01eeb1\n\ttype = 2\n\tflags = 0x0\n\ttoguid = 1735106c1ce47240\n\tfromguid = 0\n\ttoname = tank/a@1\nEND checksum = 61044cd611a3d/76b78c7298518ac/ebe468058df80c6d/478ff34c82861443\nEND checksum = 0/0/0/0\nSUMMARY:\n\tTotal DRR_BEGIN records = 2\n\tTotal DRR_END records = 3\n\tTotal DRR_OBJECT records = 8\n\tTotal records = 62\n\tTotal write size = 3673088 (0x380c00)\n\tTotal stream length = 3694492 (0x385f9c)\n";
    /// OpenZFS 2.2: as `cmd/zstream/zstream_dump.c` prints an increment without properties.
    const OPEN: &str = "BEGIN record\n\thdrtype = 1\n\tfeatures = 4\n\tmagic = 2f5bacbac\n\tcreation_time = 6b01eeb1\n\ttype = 2\n\tflags = 0x0\n\ttoguid = b\n\tfromguid = a\n\ttoname = tank/a@2\nEND checksum = 1/2/3/4\nSUMMARY:\n\tTotal DRR_BEGIN records = 1 (0 bytes)\n\tTotal DRR_END records = 1 (0 bytes)\n\tTotal records = 30\n\tTotal payload size = 1536 (0x600)\n\tTotal header overhead = 9360 (0x2490)\n\tTotal stream length = 13008 (0x32d0)\n";
    const GUID: u64 = 0x1735_106c_1ce4_7240;

    #[test]
    fn both_families_are_understood() {
        let fuse = Dump { wrong: false, compound: true, from: 0, to: GUID, begins: 2, ends: 3, length: 3_694_492 };
        assert_eq!(Dump::parse(FUSE).as_ref(), Some(&fuse));
        assert_eq!(fuse.fault(3_694_492, Some(0)), None);
        let open = Dump { wrong: false, compound: false, from: 10, to: 11, begins: 1, ends: 1, length: 13_008 };
        assert_eq!(Dump::parse(OPEN).as_ref(), Some(&open));
        assert_eq!(open.fault(13_008, Some(10)), None);
        assert_eq!(Dump::parse("zstream: something else\n"), None);
        assert_eq!(Dump::parse(""), None);
    }

    #[test]
    fn what_is_wrong_with_a_stream() {
        let fault = |output: &str, bytes, reached| Dump::parse(output).unwrap().fault(bytes, reached).unwrap();
        let differs =
            FUSE.replace("END checksum = 6", "Expected checksum differs from checksum in stream.\nEND checksum = 6");
        assert!(fault(&differs, 3_694_492, Some(0)).contains("checksum"));
        let header = OPEN.replace("END checksum", "Incorrect checksum in record header.\nEND checksum");
        assert!(fault(&header, 13_008, Some(10)).contains("checksum"));
        let open_ended = FUSE.replace("END records = 3", "END records = 2");
        assert!(fault(&open_ended, 3_694_492, Some(0)).contains("2 of 3 end records"));
        assert!(fault(FUSE, 3_694_493, Some(0)).contains("3694492 of its 3694493 bytes"));
        assert!(fault(OPEN, 13_008, Some(9)).contains("guid 10"));
        let nothing =
            "SUMMARY:\n\tTotal DRR_BEGIN records = 0\n\tTotal DRR_END records = 0\n\tTotal stream length = 0 (0x0)\n";
        assert!(fault(nothing, 0, Some(0)).contains("cut off"));
    }

    /// What the tool answers to each stream.
    struct Tool(fn(&str) -> Result<Output>);

    impl Host for Tool {
        fn feed_from(&mut self, _: &str, name: &str, command: &Command) -> Result<Output> {
            assert_eq!(command.id(), "dump");
            (self.0)(name)
        }
    }

    fn printed(status: i32, stdout: &str, stderr: &str) -> Result<Output> {
        Ok(Output { status, stdout: stdout.into(), stderr: stderr.into(), ..Output::default() })
    }

    /// Verify a set whose chain is these streams, of a snapshot with this guid.
    fn verified(chain: &[(&str, u64)], guid: u64, tool: fn(&str) -> Result<Output>) -> Vec<Finding> {
        let pieces = chain.iter().map(|(name, _)| Piece { set: None, stream: (*name).to_owned() }).collect();
        let captured = Captured {
            dataset: "tank/a".into(),
            guid: Some(guid.to_string()),
            stream: Some(Stream { pieces, ..Stream::default() }),
            ..Captured::default()
        };
        verified_of(captured, chain, tool)
    }

    fn verified_of(captured: Captured, given: &[(&str, u64)], tool: fn(&str) -> Result<Output>) -> Vec<Finding> {
        let state =
            State { label: "l".into(), datasets: vec![captured], together: true, recursive: false, planned: false };
        let archived: Vec<_> = given
            .iter()
            .map(|(name, bytes)| Archived {
                set: "s".into(),
                name: (*name).to_owned(),
                form: ArchivedForm::Stream,
                bytes: *bytes,
            })
            .collect();
        testing::host(Part::default(), Tool(tool), || verify(&state, &archived).unwrap()).0
    }

    fn failures(findings: &[Finding]) -> Vec<&str> {
        findings.iter().filter(|f| f.severity == Severity::Failure).map(|f| f.message.as_str()).collect()
    }

    #[test]
    fn each_stream_goes_on_where_the_one_before_it_ends() {
        let tool: fn(&str) -> Result<Output> = |name| match name {
            "full-0" => {
                printed(0, &OPEN.replace("toguid = b", "toguid = a").replace("fromguid = a", "fromguid = 0"), "")
            }
            _ => printed(0, OPEN, ""),
        };
        let chain = [("full-0", 13_008), ("incremental-0", 13_008)];
        assert!(failures(&verified(&chain, 11, tool)).is_empty());
        // The last one is of another snapshot; the first one is no full stream; one is missing in between.
        assert_eq!(failures(&verified(&chain, 12, tool)).len(), 1);
        let found = verified(&chain[1..], 11, tool);
        assert!(failures(&found)[0].contains("starts from a snapshot with the guid 10"), "{found:?}");
    }

    #[test]
    fn a_set_that_is_not_published_is_asked_about_alone() {
        let base = Piece { set: Some("20261121-000000-000000".into()), stream: "full-0".into() };
        let own = Piece { set: None, stream: "incremental-0".into() };
        let captured = Captured {
            dataset: "tank/a".into(),
            guid: Some("11".into()),
            stream: Some(Stream { pieces: vec![base, own], ..Stream::default() }),
            ..Captured::default()
        };
        let found = verified_of(captured, &[("incremental-0", 13_008)], |name| {
            assert_eq!(name, "incremental-0");
            printed(0, OPEN, "")
        });
        assert_eq!((failures(&found).len(), found.len()), (0, 1));
    }

    #[test]
    fn a_tool_that_refuses_a_stream_and_one_that_is_not_there() {
        let chain = [("full-0", 13_008)];
        let found = verified(&chain, 11, |_| printed(1, "INVALID record found: type 0x101\nAborting.\n", ""));
        assert_eq!(failures(&found), ["zstreamdump: INVALID record found: type 0x101"]);
        let absent: [fn(&str) -> Result<Output>; 2] = [
            |_| Err(Error::not_found("command dump: the program zstreamdump is in none of /usr/sbin")),
            |_| printed(127, "", "sh: zstreamdump: not found\n"),
        ];
        for tool in absent {
            let found = verified(&chain, 11, tool);
            assert!(failures(&found).is_empty());
            assert_eq!(found[0].severity, Severity::Warning);
        }
    }
}
