//! The vendor's own check of what was archived.

use bkhost_sdk::{Archived, Finding, Result, archive, exec};

use crate::State;
use crate::dump::STREAM;
use crate::listing::{Listing, TRAILER};

/// That a dump is complete and holds what was there.
pub(crate) fn dump(state: &State, archived: &[Archived]) -> Result<Vec<Finding>> {
    if !archived.iter().any(|archived| archived.name == STREAM) {
        return Ok(vec![Finding::failure("dump", "there is none in the set")]);
    }
    let output = archive::feed(STREAM, exec::command("structure"))?;
    // grep says 1 where it has found nothing.
    let listing = if output.status == 1 { Listing::default() } else { Listing::parse(&output.ok()?.stdout) };
    Ok(judge(state, &listing))
}

fn judge(state: &State, listing: &Listing) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !listing.complete {
        findings.push(Finding::failure("dump", format!("its last comment is not '{TRAILER}': it is not complete")));
    }
    let alone = state.databases.len() == 1;
    for database in &state.databases {
        let found = listing.count(&database.name, alone);
        let subject = format!("database {}", database.name);
        findings.push(if found < database.tables {
            Finding::failure(
                subject,
                format!("the dump holds {found} tables and views, and there were {}", database.tables),
            )
        } else {
            Finding::info(subject, format!("{found} tables and views are in the dump"))
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use bkhost_sdk::Severity;

    use super::*;
    use crate::Database;
    use crate::version::Flavor;

    #[test]
    fn a_dump_that_lacks_a_table_or_its_end() {
        let database =
            |name: &str| Database { name: name.into(), charset: String::new(), collation: String::new(), tables: 2 };
        let state = |names: &[&str]| State {
            label: String::new(),
            flavor: Flavor::Mariadb,
            server: String::new(),
            databases: names.iter().map(|name| database(name)).collect(),
            position: None,
            rows_exact: None,
            tables_counted: None,
            definers: Vec::new(),
            bytes: None,
        };
        let bad = |state: &State, text: &str| {
            judge(state, &Listing::parse(text)).iter().filter(|f| f.severity == Severity::Failure).count()
        };
        let whole = "-- Table structure for table `a`\n-- Final view structure for view `v`\n-- Dump completed\n";
        assert_eq!(bad(&state(&["x"]), whole), 0);
        assert_eq!(bad(&state(&["x"]), whole.trim_end_matches("-- Dump completed\n")), 1);
        assert_eq!(bad(&state(&["x"]), "-- Table structure for table `a`\n-- Dump completed\n"), 1);
        assert_eq!(bad(&state(&["x"]), ""), 2);
        let two = format!("-- Current Database: `x`\n{whole}-- Current Database: `y`\n{whole}");
        assert_eq!((bad(&state(&["x", "y"]), &two), bad(&state(&["x", "z"]), &two)), (0, 1));
    }
}
