//! What the user may do, by `SHOW GRANTS`.
//!
//! What a user may not see is missing from a dump without a word. So it is not enough that the dump succeeds.

/// What one grant is for.
#[derive(Debug, PartialEq, Eq)]
enum Object {
    Everything,
    /// A database: a pattern with `%` and `_`.
    Database(String),
    /// A table.
    Table(String, String),
}

/// Everything that was granted.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    grants: Vec<(Vec<String>, Object)>,
    /// There are roles, whose rights MySQL does not list here.
    pub(crate) roles: bool,
}

impl Grants {
    /// From the rows of `SHOW GRANTS`.
    pub(crate) fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut all = Self::default();
        for line in lines {
            let Some(rest) = line.strip_prefix("GRANT ") else { continue };
            match rest.split_once(" ON ") {
                None => all.roles = true,
                Some((privileges, rest)) => {
                    let object = rest.strip_prefix("TABLE ").unwrap_or(rest);
                    if let Some(object) = object_of(object) {
                        let privileges = privileges.split(',').map(|p| p.trim().to_ascii_uppercase()).collect();
                        all.grants.push((privileges, object));
                    }
                }
            }
        }
        all
    }

    fn any(&self, wanted: &[&str], on: impl Fn(&Object) -> bool) -> bool {
        let given = |privilege: &String| {
            wanted.contains(&privilege.as_str()) || matches!(privilege.as_str(), "ALL" | "ALL PRIVILEGES")
        };
        self.grants.iter().any(|(privileges, object)| on(object) && privileges.iter().any(given))
    }

    /// Whether one of these is granted for everything.
    pub(crate) fn everywhere(&self, wanted: &[&str]) -> bool {
        self.any(wanted, |object| *object == Object::Everything)
    }

    /// Whether this is granted for the whole of a database.
    pub(crate) fn on(&self, privilege: &str, database: &str) -> bool {
        self.any(&[privilege], |object| match object {
            Object::Everything => true,
            Object::Database(pattern) => matches(pattern, database),
            Object::Table(..) => false,
        })
    }

    /// What a dump of this database needs and the user has not.
    pub(crate) fn lacking(&self, database: &str) -> Vec<&'static str> {
        ["SELECT", "SHOW VIEW", "TRIGGER", "EVENT"]
            .into_iter()
            .filter(|privilege| !self.on(privilege, database))
            .collect()
    }

    /// Whether the user sees routines that others have defined.
    pub(crate) fn sees_routines(&self, database: &str) -> bool {
        self.everywhere(&["SELECT", "SHOW_ROUTINE", "SHOW CREATE ROUTINE"])
            || self.on("SHOW CREATE ROUTINE", database)
            || self.on("SELECT", "mysql")
            || self.any(&["SELECT"], |object| matches!(object, Object::Table(d, t) if d == "mysql" && t == "proc"))
    }

    /// Whether the user may ask where the binary log is.
    pub(crate) fn sees_binary_log(&self) -> bool {
        self.everywhere(&["SUPER", "REPLICATION CLIENT", "BINLOG MONITOR"])
    }
}

/// `*.*`, `` `db`.* `` or `` `db`.`table` ``, and what follows.
fn object_of(text: &str) -> Option<Object> {
    if text.starts_with("*.*") {
        return Some(Object::Everything);
    }
    let (database, rest) = identifier(text)?;
    let rest = rest.strip_prefix('.')?;
    if rest.starts_with('*') {
        return Some(Object::Database(database));
    }
    Some(Object::Table(database, identifier(rest)?.0))
}

/// A quoted name, and what follows it.
pub(crate) fn identifier(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('`')?;
    let mut name = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '`' {
            match chars.peek() {
                Some((_, '`')) => {
                    chars.next();
                }
                _ => return text.get(at + 1..).map(|rest| (name, rest)),
            }
        }
        name.push(c);
    }
    None
}

/// Whether a database's name matches the pattern of a grant: `%` and `_`, unless they follow a backslash.
fn matches(pattern: &str, name: &str) -> bool {
    fn rest(pattern: &[char], name: &[char]) -> bool {
        match pattern {
            [] => name.is_empty(),
            ['%', pattern @ ..] => (0..=name.len()).any(|n| name.get(n..).is_some_and(|name| rest(pattern, name))),
            ['_', pattern @ ..] => name.split_first().is_some_and(|(_, name)| rest(pattern, name)),
            ['\\', c, pattern @ ..] | [c, pattern @ ..] => {
                name.split_first().is_some_and(|(first, name)| first == c && rest(pattern, name))
            }
        }
    }
    rest(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_as_servers_list_them() {
        let root = Grants::parse(
            [
                "GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION",
                "GRANT PROXY ON ``@`%` TO `root`@`localhost`",
            ]
            .into_iter(),
        );
        assert!(root.lacking("any").is_empty() && root.sees_routines("any") && root.sees_binary_log());
        let limited = Grants::parse(
            [
                "GRANT `r` TO `lim`@`localhost`",
                "GRANT USAGE ON *.* TO `lim`@`localhost` IDENTIFIED BY PASSWORD '*D8'",
                "GRANT SELECT, SHOW VIEW, EVENT, TRIGGER ON `app`.* TO `lim`@`localhost`",
                "GRANT SELECT ON `my\\_db`.* TO `lim`@`localhost`",
                "GRANT SELECT (`a`) ON `other`.`t` TO `lim`@`localhost`",
                "GRANT SELECT ON `mysql`.`proc` TO `r`",
            ]
            .into_iter(),
        );
        assert!(limited.roles && limited.lacking("app").is_empty() && limited.sees_routines("app"));
        assert!(!limited.sees_binary_log());
        assert_eq!(limited.lacking("my_db"), ["SHOW VIEW", "TRIGGER", "EVENT"]);
        assert_eq!(limited.lacking("myxdb").len(), 4, "the underscore was escaped");
        assert_eq!(limited.lacking("other").len(), 4, "a table of it is not all of it");
        let mysql8 = Grants::parse(
            [
                "GRANT SELECT, RELOAD, PROCESS, REPLICATION CLIENT, SHOW VIEW, EVENT, TRIGGER ON *.* TO `b`@`%`",
                "GRANT BACKUP_ADMIN,SHOW_ROUTINE ON *.* TO `b`@`%`",
            ]
            .into_iter(),
        );
        assert!(mysql8.lacking("x").is_empty() && mysql8.sees_routines("x") && mysql8.sees_binary_log());
    }

    #[test]
    fn patterns_and_quotes() {
        assert!(matches("app%", "app_1") && matches("a_c", "abc") && !matches("a\\_c", "abc") && !matches("a", "ab"));
        assert_eq!(identifier("`a``b`.*"), Some(("a`b".to_owned(), ".*")));
        assert_eq!(identifier("`a"), None);
        let odd = Grants::parse(["GRANT SELECT ON `x TO y`.* TO `u`@`%`"].into_iter());
        assert!(odd.on("SELECT", "x TO y"));
    }
}
