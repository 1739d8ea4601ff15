//! Reads and writes extended attributes and ACLs.

use rustix::io::{self, Errno};

use super::place::Place;
use crate::acl::Acl;
use crate::entry::Attributes;

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

/// Reads attributes; keeps its buffers from file to file.
#[derive(Default)]
pub(crate) struct AttributeReader {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl AttributeReader {
    /// All that we may see of this file's attributes. A file system without attributes has none.
    pub(crate) fn read(&mut self, place: &Place<'_>) -> io::Result<Attributes> {
        let mut attributes = Attributes::default();
        match place.list_xattrs(&mut self.names) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.names.clear(),
            Err(e) => return Err(e),
        }
        for name in self.names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
            match place.get_xattr(name, &mut self.value) {
                Ok(()) => {}
                // Removed meanwhile, or in a namespace that this user may list but not read.
                Err(Errno::NODATA | Errno::OPNOTSUPP) => continue,
                Err(Errno::PERM | Errno::ACCESS) if !name.starts_with(b"user.") => continue,
                Err(e) => return Err(e),
            }
            match (name, Acl::from_kernel(&self.value)) {
                (ACCESS, Some(acl)) => attributes.access = Some(acl),
                (DEFAULT, Some(acl)) => attributes.default = Some(acl),
                (ACCESS | DEFAULT, None) => return Err(Errno::INVAL),
                _ => attributes.xattrs.push((name.to_vec(), self.value.clone())),
            }
        }
        attributes.xattrs.sort_unstable();
        Ok(attributes)
    }
}

/// Sets all of these on a file that may have inherited others from its directory. Gives the number that this user or
/// this file system does not allow.
pub(crate) fn write(place: &Place<'_>, attributes: &Attributes, directory: bool) -> io::Result<u64> {
    let mut refused = 0;
    let mut set = |name: &[u8], value: &[u8]| match place.set_xattr(name, value) {
        Ok(()) => Ok(()),
        Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            refused += 1;
            Ok(())
        }
        Err(e) => Err(e),
    };
    for (name, value) in &attributes.xattrs {
        set(name, value)?;
    }
    for (name, acl) in [(ACCESS, &attributes.access), (DEFAULT, &attributes.default)] {
        match acl {
            Some(acl) => set(name, &acl.to_kernel())?,
            None if name == ACCESS || directory => clear(place, name)?,
            None => {}
        }
    }
    Ok(refused)
}

/// Removes what the file has and `wanted` does not name.
pub(crate) fn remove_others(place: &Place<'_>, present: &Attributes, wanted: &Attributes) -> io::Result<()> {
    for (name, _) in &present.xattrs {
        if wanted.xattrs.binary_search_by(|(other, _)| other.cmp(name)).is_err() {
            clear(place, name)?;
        }
    }
    Ok(())
}

fn clear(place: &Place<'_>, name: &[u8]) -> io::Result<()> {
    match place.remove_xattr(name) {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM | Errno::ACCESS) => Ok(()),
        Err(e) => Err(e),
    }
}
