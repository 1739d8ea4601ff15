//! Records of journals and checkpoints: `@pv@ 1 @db.counters@ @journal@ 7 `.

/// A field: numbers bare, everything else between `@`, of which one inside is doubled.
#[must_use]
pub(super) fn field(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        text.to_owned()
    } else {
        format!("@{}@", text.replace('@', "@@"))
    }
}

/// One record as a line.
#[must_use]
pub(super) fn line(operation: &str, fields: &[&str]) -> String {
    let mut line = format!("@{operation}@");
    for text in fields {
        line.push(' ');
        line.push_str(&field(text));
    }
    line.push_str(" \n");
    line
}

/// The fields of a line, the operation first.
pub(super) fn parse(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut chars = line.trim_end_matches('\n').chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' => {}
            '@' => {
                let mut text = String::new();
                loop {
                    match chars.next()? {
                        '@' if chars.peek() == Some(&'@') => {
                            chars.next();
                            text.push('@');
                        }
                        '@' => break,
                        c => text.push(c),
                    }
                }
                fields.push(text);
            }
            c if c.is_ascii_digit() => {
                let mut text = String::from(c);
                while let Some(c) = chars.next_if(char::is_ascii_digit) {
                    text.push(c);
                }
                fields.push(text);
            }
            _ => return None,
        }
    }
    Some(fields)
}

/// The header or trailer of a checkpoint (0, 1) or journal (2, 3).
#[must_use]
pub(super) fn note(kind: u8, sequence: u64, root: &str) -> String {
    let (kind, time, sequence) = (kind.to_string(), super::now().to_string(), sequence.to_string());
    // The sequence is text there.
    line("nx", &[&kind, &time, "SEQUENCE", "2", "0", "0", "0", "0", root, "journal", "", "", ""])
        .replace("@SEQUENCE@", &format!("@{sequence}@"))
}
