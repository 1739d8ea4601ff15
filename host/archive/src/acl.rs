//! POSIX access control lists: the kernel's form, and the text form that tar archives carry.

use std::fmt;

/// The version of the kernel's form.
const VERSION: u32 = 2;
/// The id of entries that have none.
const NO_ID: u32 = u32::MAX;

/// Whom a line of an ACL is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The file's owner.
    Owner,
    /// A user, by id.
    User(u32),
    /// The file's group.
    OwningGroup,
    /// A group, by id.
    Group(u32),
    /// The most that users, groups and the owning group get.
    Mask,
    /// Everybody else.
    Other,
}

/// One access control list: lines of whom and what (`4` read, `2` write, `1` execute).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl(pub Vec<(Who, u8)>);

impl Acl {
    /// Reads the value of a `system.posix_acl_*` attribute.
    pub(super) fn from_kernel(value: &[u8]) -> Option<Self> {
        let (version, mut rest) = value.split_first_chunk()?;
        if u32::from_le_bytes(*version) != VERSION {
            return None;
        }
        let mut lines = Vec::new();
        while let Some((tag, after)) = rest.split_first_chunk() {
            let (permissions, after) = after.split_first_chunk()?;
            let (id, after) = after.split_first_chunk()?;
            let id = u32::from_le_bytes(*id);
            let who = match u16::from_le_bytes(*tag) {
                0x01 => Who::Owner,
                0x02 => Who::User(id),
                0x04 => Who::OwningGroup,
                0x08 => Who::Group(id),
                0x10 => Who::Mask,
                0x20 => Who::Other,
                _ => return None,
            };
            lines.push((who, u8::try_from(u16::from_le_bytes(*permissions)).ok().filter(|p| *p <= 7)?));
            rest = after;
        }
        rest.is_empty().then_some(Self(lines))
    }

    /// The value for a `system.posix_acl_*` attribute.
    pub(super) fn to_kernel(&self) -> Vec<u8> {
        let mut lines = self.0.clone();
        // The kernel wants them in this order, and ids ascending.
        lines.sort_unstable_by_key(|(who, _)| *who);
        let mut value = VERSION.to_le_bytes().to_vec();
        for (who, permissions) in lines {
            let (tag, id): (u16, u32) = match who {
                Who::Owner => (0x01, NO_ID),
                Who::User(id) => (0x02, id),
                Who::OwningGroup => (0x04, NO_ID),
                Who::Group(id) => (0x08, id),
                Who::Mask => (0x10, NO_ID),
                Who::Other => (0x20, NO_ID),
            };
            value.extend(tag.to_le_bytes());
            value.extend(u16::from(permissions).to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    }

    /// Reads the text form; ids have to be numbers.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let lines = text.split([',', '\n']).filter(|line| !line.is_empty()).map(|line| {
            let mut fields = line.split(':');
            let (tag, id, permissions) = (fields.next()?, fields.next()?, fields.next()?);
            let number = || id.parse::<u32>().ok();
            let who = match (tag, id) {
                ("user", "") => Who::Owner,
                ("user", _) => Who::User(number()?),
                ("group", "") => Who::OwningGroup,
                ("group", _) => Who::Group(number()?),
                ("mask", "") => Who::Mask,
                ("other", "") => Who::Other,
                _ => return None,
            };
            let mut bits = 0;
            for (c, (letter, bit)) in permissions.chars().zip([('r', 4), ('w', 2), ('x', 1)]) {
                match c {
                    _ if c == letter => bits |= bit,
                    '-' => {}
                    _ => return None,
                }
            }
            (permissions.len() == 3 && fields.next().is_none()).then_some((who, bits))
        });
        lines.collect::<Option<Vec<_>>>().filter(|lines| !lines.is_empty()).map(Self)
    }

    /// The same list with its ids changed.
    pub(super) fn map_ids(&self, user: impl Fn(u32) -> u32, group: impl Fn(u32) -> u32) -> Self {
        let lines = self.0.iter().map(|&(who, permissions)| match who {
            Who::User(id) => (Who::User(user(id)), permissions),
            Who::Group(id) => (Who::Group(group(id)), permissions),
            other => (other, permissions),
        });
        Self(lines.collect())
    }
}

impl fmt::Display for Acl {
    /// The text form with numeric ids, so that it can be restored where the names are not known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (who, permissions)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match who {
                Who::Owner => f.write_str("user::")?,
                Who::User(id) => write!(f, "user:{id}:")?,
                Who::OwningGroup => f.write_str("group::")?,
                Who::Group(id) => write!(f, "group:{id}:")?,
                Who::Mask => f.write_str("mask::")?,
                Who::Other => f.write_str("other::")?,
            }
            for (bit, letter) in [(4, "r"), (2, "w"), (1, "x")] {
                f.write_str(if permissions & bit == 0 { "-" } else { letter })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "user::rwx,user:1000:r-x,group::r--,group:50:-w-,mask::rwx,other::---";

    #[test]
    fn text_and_kernel_form_survive() {
        let acl = Acl::from_text(TEXT).unwrap();
        assert_eq!(acl.to_string(), TEXT);
        assert_eq!(Acl::from_kernel(&acl.to_kernel()), Some(acl));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "user", "user:x:rwx", "user::rw", "user::rwz", "nobody::rwx", "user::xwr", "user::rwx:1:2"] {
            assert_eq!(Acl::from_text(text), None, "{text}");
        }
        let good = Acl::from_text(TEXT).unwrap().to_kernel();
        assert_eq!(Acl::from_kernel(&good[..good.len() - 1]), None);
        assert_eq!(Acl::from_kernel(&[1, 0, 0, 0]), None);
        assert_eq!(Acl::from_kernel(b""), None);
    }
}
