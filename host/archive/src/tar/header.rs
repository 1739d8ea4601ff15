//! The 512 bytes before each entry.

use super::BLOCK;

/// The kind of an entry, as its header has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TypeFlag(pub(super) u8);

impl TypeFlag {
    pub(super) const FILE: Self = Self(b'0');
    pub(super) const HARDLINK: Self = Self(b'1');
    pub(super) const SYMLINK: Self = Self(b'2');
    pub(super) const CHAR: Self = Self(b'3');
    pub(super) const BLOCK: Self = Self(b'4');
    pub(super) const DIRECTORY: Self = Self(b'5');
    pub(super) const FIFO: Self = Self(b'6');
    pub(super) const PAX: Self = Self(b'x');
}

/// A field: where it begins and how long it is.
#[derive(Clone, Copy)]
pub(super) struct Field(usize, usize);

impl Field {
    pub(super) const NAME: Self = Self(0, 100);
    pub(super) const MODE: Self = Self(100, 8);
    pub(super) const UID: Self = Self(108, 8);
    pub(super) const GID: Self = Self(116, 8);
    pub(super) const SIZE: Self = Self(124, 12);
    pub(super) const MTIME: Self = Self(136, 12);
    const CHECKSUM: Self = Self(148, 8);
    const TYPE: Self = Self(156, 1);
    pub(super) const LINK: Self = Self(157, 100);
    const MAGIC: Self = Self(257, 8);
    pub(super) const USER: Self = Self(265, 32);
    pub(super) const GROUP: Self = Self(297, 32);
    pub(super) const MAJOR: Self = Self(329, 8);
    pub(super) const MINOR: Self = Self(337, 8);
    pub(super) const PREFIX: Self = Self(345, 155);

    /// The number of bytes that fit.
    pub(super) fn len(self) -> usize {
        self.1
    }
}

const MAGIC: &[u8; 8] = b"ustar\x0000";

/// A header.
pub(super) struct Header(pub(super) [u8; BLOCK]);

impl Header {
    pub(super) fn new(kind: TypeFlag) -> Self {
        let mut header = Self([0; BLOCK]);
        header.put(Field::MAGIC, MAGIC);
        header.put(Field::TYPE, &[kind.0]);
        header
    }

    /// Stores what fits of `bytes`; gives whether that is all.
    pub(super) fn put(&mut self, field: Field, bytes: &[u8]) -> bool {
        let target = self.0.get_mut(field.0..field.0.saturating_add(field.1)).unwrap_or_default();
        target.fill(0);
        target.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        bytes.len() <= field.1
    }

    /// Stores a number: octal where it fits, else in GNU's binary form.
    pub(super) fn put_number(&mut self, field: Field, number: u64) {
        let digits = field.1.saturating_sub(1);
        let mut octal = [b'0'; 12];
        let mut rest = number;
        for digit in octal.iter_mut().take(digits).rev() {
            *digit = b'0' | u8::try_from(rest & 7).unwrap_or(0);
            rest >>= 3;
        }
        if rest == 0 {
            self.put(field, octal.get(..digits).unwrap_or_default());
        } else {
            let mut binary = [0; 12];
            let tail = number.to_be_bytes();
            binary.iter_mut().rev().zip(tail.iter().rev()).for_each(|(to, from)| *to = *from);
            let start = binary.len().saturating_sub(field.1);
            if let Some(first) = binary.get_mut(start) {
                *first = 0x80;
            }
            self.put(field, binary.get(start..).unwrap_or_default());
        }
    }

    /// Completes the header.
    pub(super) fn seal(&mut self) {
        let sum = self.sum();
        self.put(Field::CHECKSUM, format!("{sum:06o}\0 ").as_bytes());
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|b| *b == 0)
    }

    /// Whether the checksum and the format are right.
    pub(super) fn is_valid(&self) -> bool {
        self.number(Field::CHECKSUM) == Some(self.sum()) && self.raw(Field::MAGIC) == MAGIC
    }

    pub(super) fn kind(&self) -> TypeFlag {
        TypeFlag(self.raw(Field::TYPE).first().copied().unwrap_or(0))
    }

    /// A text field up to its NUL.
    pub(super) fn text(&self, field: Field) -> &[u8] {
        self.raw(field).split(|b| *b == 0).next().unwrap_or_default()
    }

    pub(super) fn number(&self, field: Field) -> Option<u64> {
        let raw = self.raw(field);
        if raw.first().is_some_and(|b| b & 0x80 != 0) {
            let (head, tail) = raw.split_last_chunk::<8>().unwrap_or((raw.get(..0)?, &[0; 8]));
            if raw.len() > 8 {
                // Only the mark may be set above the 64 bits.
                let plain = head.iter().enumerate().all(|(i, b)| *b == if i == 0 { 0x80 } else { 0 });
                return plain.then(|| u64::from_be_bytes(*tail));
            }
            return raw.first_chunk::<8>().map(|chunk| u64::from_be_bytes(*chunk) & !(1 << 63));
        }
        let digits = raw.trim_ascii_start().split(|b| matches!(b, 0 | b' ')).next()?;
        if digits.is_empty() {
            return Some(0);
        }
        digits.iter().try_fold(0u64, |sum, b| {
            let digit = matches!(b, b'0'..=b'7').then(|| u64::from(b.wrapping_sub(b'0')))?;
            sum.checked_mul(8)?.checked_add(digit)
        })
    }

    fn raw(&self, field: Field) -> &[u8] {
        self.0.get(field.0..field.0.saturating_add(field.1)).unwrap_or_default()
    }

    /// The sum of all bytes, with those of the checksum taken as spaces.
    fn sum(&self) -> u64 {
        let all: u64 = self.0.iter().map(|b| u64::from(*b)).sum();
        let own: u64 = self.raw(Field::CHECKSUM).iter().map(|b| u64::from(*b)).sum();
        all.saturating_sub(own).saturating_add(8 * 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_size_survive() {
        for (field, largest) in [(Field::SIZE, u64::MAX), (Field::UID, (1 << 56) - 1)] {
            for number in [0, 7, 0o7_777_777, 0o10_000_000, 8 << 30, 5 << 40, largest] {
                let mut header = Header::new(TypeFlag::FILE);
                header.put_number(field, number);
                assert_eq!(header.number(field), Some(number));
            }
        }
    }

    #[test]
    fn a_changed_header_is_not_valid() {
        let mut header = Header::new(TypeFlag::FILE);
        header.put(Field::NAME, b"x");
        header.seal();
        assert!(header.is_valid());
        header.0[0] = b'y';
        assert!(!header.is_valid());
    }
}
