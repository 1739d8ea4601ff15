//! PAX records: what does not fit into a header.

use crate::acl::Acl;
use crate::entry::Attributes;

/// A list of `(keyword, value)`.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) bytes: Vec<u8>,
}

impl Records {
    pub(super) fn push(&mut self, keyword: &[u8], value: &[u8]) {
        // ` `, `=` and the newline, and the digits of the length, which counts itself.
        let rest = keyword.len().saturating_add(value.len()).saturating_add(3);
        let mut length = rest.saturating_add(1);
        while length.to_string().len().saturating_add(rest) != length {
            length = length.to_string().len().saturating_add(rest);
        }
        self.bytes.extend(length.to_string().bytes());
        self.bytes.push(b' ');
        self.bytes.extend(keyword);
        self.bytes.push(b'=');
        self.bytes.extend(value);
        self.bytes.push(b'\n');
    }
}

/// Reads the records of a PAX header; `None` if it is malformed.
pub(super) fn parse(mut bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let digits = bytes.split(|b| *b == b' ').next()?;
        let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let (record, rest) = bytes.split_at_checked(length)?;
        let body = record.get(digits.len().checked_add(1)?..)?.strip_suffix(b"\n")?;
        let equals = body.iter().position(|b| *b == b'=')?;
        let (keyword, value) = body.split_at_checked(equals)?;
        records.push((keyword, value.get(1..)?));
        bytes = rest;
    }
    Some(records)
}

const XATTR: &[u8] = b"SCHILY.xattr.";
const ACCESS: &[u8] = b"SCHILY.acl.access";
const DEFAULT: &[u8] = b"SCHILY.acl.default";

/// The records of an entry's attributes.
pub(super) fn push_attributes(records: &mut Records, attributes: &Attributes) {
    for (name, value) in &attributes.xattrs {
        // An equals sign would end the keyword; GNU tar escapes it in this way.
        let mut keyword = XATTR.to_vec();
        for byte in name {
            match byte {
                b'%' => keyword.extend(b"%25"),
                b'=' => keyword.extend(b"%3D"),
                byte => keyword.push(*byte),
            }
        }
        records.push(&keyword, value);
    }
    for (keyword, acl) in [(ACCESS, &attributes.access), (DEFAULT, &attributes.default)] {
        if let Some(acl) = acl {
            records.push(keyword, acl.to_string().as_bytes());
        }
    }
}

/// Takes a record if it is one of an attribute: gives whether it was, or `None` if it is malformed.
pub(super) fn take_attribute(attributes: &mut Attributes, keyword: &[u8], value: &[u8]) -> Option<bool> {
    let acl = || Acl::from_text(std::str::from_utf8(value).ok()?);
    if let Some(name) = keyword.strip_prefix(XATTR) {
        attributes.xattrs.push((decode(name)?, value.to_vec()));
    } else if keyword == ACCESS {
        attributes.access = Some(acl()?);
    } else if keyword == DEFAULT {
        attributes.default = Some(acl()?);
    } else {
        return Some(false);
    }
    Some(true)
}

fn decode(mut name: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(name.len());
    while let Some((first, rest)) = name.split_first() {
        name = rest;
        decoded.push(match first {
            b'%' => {
                let (code, rest) = rest.split_at_checked(2)?;
                name = rest;
                match code {
                    b"25" => b'%',
                    b"3D" => b'=',
                    _ => return None,
                }
            }
            0 => return None,
            first => *first,
        });
    }
    (!decoded.is_empty()).then_some(decoded)
}

/// One hash over all attributes, for the index; `None` if there are none.
pub(crate) fn attribute_digest(attributes: &Attributes) -> Option<blake3::Hash> {
    let mut records = Records::default();
    push_attributes(&mut records, attributes);
    (!attributes.is_empty()).then(|| blake3::hash(&records.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_all_lengths_survive() {
        // Lengths around which the number of digits of the length changes.
        for size in (0..200).chain(960..1010).chain(9970..10_010) {
            let mut records = Records::default();
            let value = vec![b'\n'; size];
            records.push(b"key", &value);
            records.push(b"k", b"=");
            assert_eq!(parse(&records.bytes).unwrap(), [(b"key".as_slice(), value.as_slice()), (b"k", b"=")]);
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        for bytes in [&b"5 a=b"[..], b"x a=b\n", b"3 a", b"99 a=b\n", b"6 abc\n", b"0 a=b\n", b" a=b\n", b"2 \n"] {
            assert!(parse(bytes).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn attribute_names_with_an_equals_sign_survive() {
        let xattrs = vec![(b"user.a=b%c".to_vec(), b"\x00\n=\xff".to_vec())];
        let attributes = Attributes { xattrs, ..Attributes::default() };
        let mut records = Records::default();
        push_attributes(&mut records, &attributes);
        let mut read = Attributes::default();
        for (keyword, value) in parse(&records.bytes).unwrap() {
            assert_eq!(take_attribute(&mut read, keyword, value), Some(true));
        }
        assert_eq!(read, attributes);
    }
}
