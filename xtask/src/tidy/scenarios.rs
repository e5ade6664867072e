//! The catalogue and the lab: every kind and cause has a scenario, and one that looks alike.

use super::documents::has_test;
use super::source::Source;
use super::{Complaints, assert_kept, repository};

const TABLE: &str = "docs/scenarios.md";
const PAGES: &str = "docs/findings/";
const LAB: &str = "tcptrace-lab/tests/";

/// `kind/cause` of every section of every page, and `kind` of those without causes: a test of the
/// agent holds the pages against the catalogue.
fn catalogue(files: &[Source]) -> Vec<String> {
    let mut names = Vec::new();
    for page in files.iter().filter(|f| f.path.starts_with(PAGES)) {
        let mut lines = page.text.lines();
        let kind = lines.next().unwrap_or("").trim_start_matches("# ");
        let before = names.len();
        let causes = lines.filter_map(|line| line.strip_prefix("## cause: "));
        names.extend(causes.map(|cause| format!("{kind}/{cause}")));
        if names.len() == before {
            names.push(kind.to_owned());
        }
    }
    names
}

/// The rows of the table: the finding, the scenarios, and what looks alike.
fn rows(text: &str) -> Vec<(&str, [Vec<&str>; 2])> {
    fn tests(cell: &str) -> Vec<&str> {
        cell.split('`').skip(1).step_by(2).collect()
    }
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .filter_map(|line| {
            let mut cells = line.split(" | ");
            Some((cells.next()?, [tests(cells.next()?), tests(cells.next()?)]))
        })
        .filter(|(name, _)| *name != "finding")
        .collect()
}

fn every_finding_has_its_scenarios(files: &[Source]) -> Complaints {
    let Some(table) = files.iter().find(|f| f.path == TABLE) else {
        return vec![format!("{TABLE} is missing")];
    };
    let rows = rows(&table.text);
    let mut complaints = Vec::new();
    for name in catalogue(files) {
        if !rows.iter().any(|(row, _)| *row == name) {
            complaints.push(format!("{TABLE} has no row for {name}"));
        }
    }
    for (name, cells) in rows {
        for (tests, what) in cells.iter().zip(["scenario", "scenario that looks alike"]) {
            if tests.is_empty() {
                complaints.push(format!("{TABLE}: {name} has no {what}"));
            }
            for test in tests {
                let mut lab = files.iter().filter(|f| f.path.starts_with(LAB));
                if !lab.any(|f| has_test(&f.code, test)) {
                    complaints.push(format!("{TABLE}: {name}: there is no test `{test}`"));
                }
            }
        }
    }
    complaints
}

#[test]
fn every_kind_and_cause_has_a_scenario_and_one_that_looks_alike() {
    assert_kept(every_finding_has_its_scenarios(&repository()));
    let page = "# leak\n\nIt leaks.\n\n## cause: forgotten\n\nForgotten.\n";
    let code = "#[test]\nfn it_leaks() {}\n\n#[test]\nfn it_does_not() {}\n";
    let check = |row: &str, complaints: usize| {
        let table = format!("| finding | scenario | looks alike |\n|---|---|---|\n{row}\n");
        let files = [
            Source::new("docs/findings/leak.md", page),
            Source::new(TABLE, &table),
            Source::new("tcptrace-lab/tests/x.rs", code),
        ];
        let found = every_finding_has_its_scenarios(&files);
        assert_eq!(found.len(), complaints, "{row}: {found:?}");
    };
    check("| leak/forgotten | `it_leaks` | `it_does_not` |", 0);
    check("| leak/forgotten | `it_leaks` | `gone` |", 1);
    check("| leak/forgotten | `it_leaks` |  |", 1);
    check("| leak/other | `it_leaks` | `it_does_not` |", 1);
}
