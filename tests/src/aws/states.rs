//! moto's things are done at once; here they take their time, or fail.

use std::collections::HashMap;
use std::ops::Range;

use roxmltree::Node;

use super::reply::child;

/// One state of a thing, shown in one answer.
#[derive(Debug, Clone)]
pub struct Step {
    /// The status that is shown.
    pub status: String,
    /// The progress that is shown, in percent.
    pub progress: u32,
    /// Elements of the thing that are left out.
    pub hidden: Vec<&'static str>,
}

/// The states in which the things of one kind are shown: each answer to a Describe call takes the next step, the answer
/// to the call that makes the thing shows the first. After the last step the thing is shown as it is.
#[derive(Debug, Clone)]
pub struct States {
    element: &'static str,
    id: &'static str,
    status: &'static str,
    progress: Option<(&'static str, &'static str)>,
    /// What else a thing of this kind has.
    has: &'static str,
    only: String,
    except: Vec<String>,
    steps: Vec<Step>,
    forever: bool,
    seen: HashMap<String, usize>,
}

impl States {
    fn of(element: &'static str, id: &'static str, status: &'static str, has: &'static str) -> Self {
        Self {
            element,
            id,
            status,
            has,
            progress: None,
            only: String::new(),
            except: Vec::new(),
            steps: Vec::new(),
            forever: false,
            seen: HashMap::new(),
        }
    }

    /// EBS snapshots.
    #[must_use]
    pub fn ebs_snapshots() -> Self {
        Self { progress: Some(("progress", "%")), ..Self::of("", "snapshotId", "status", "volumeSize") }
    }

    /// EBS volumes.
    #[must_use]
    pub fn ebs_volumes() -> Self {
        Self::of("", "volumeId", "status", "size")
    }

    /// Where EBS volumes are attached, by the volume's id.
    #[must_use]
    pub fn ebs_attachments() -> Self {
        Self::of("", "volumeId", "status", "device")
    }

    /// RDS snapshots of instances.
    #[must_use]
    pub fn db_snapshots() -> Self {
        Self { progress: Some(("PercentProgress", "")), ..Self::of("DBSnapshot", "DBSnapshotIdentifier", "Status", "") }
    }

    /// RDS snapshots of clusters.
    #[must_use]
    pub fn cluster_snapshots() -> Self {
        Self {
            progress: Some(("PercentProgress", "")),
            ..Self::of("DBClusterSnapshot", "DBClusterSnapshotIdentifier", "Status", "")
        }
    }

    /// RDS instances.
    #[must_use]
    pub fn db_instances() -> Self {
        Self::of("DBInstance", "DBInstanceIdentifier", "DBInstanceStatus", "")
    }

    /// RDS clusters.
    #[must_use]
    pub fn db_clusters() -> Self {
        Self::of("DBCluster", "DBClusterIdentifier", "Status", "")
    }

    /// Only things whose id contains this.
    #[must_use]
    pub fn only(mut self, text: &str) -> Self {
        text.clone_into(&mut self.only);
        self
    }

    /// All but these, by their whole ids.
    #[must_use]
    pub fn except(mut self, ids: &[String]) -> Self {
        self.except.extend_from_slice(ids);
        self
    }

    /// This status for so many answers, with a progress that grows.
    #[must_use]
    pub fn then(mut self, status: &str, answers: u32) -> Self {
        self.steps.extend((0..answers).map(|n| Step {
            status: status.to_owned(),
            progress: 100 * n / answers.max(1),
            hidden: Vec::new(),
        }));
        self
    }

    /// One answer.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// The last step is shown for ever.
    #[must_use]
    pub fn forever(mut self) -> Self {
        self.forever = true;
        self
    }

    fn is_one(&self, node: &Node<'_, '_>) -> bool {
        node.is_element()
            && (self.element.is_empty() || node.tag_name().name() == self.element)
            && child(node, self.status).is_some()
            && (self.has.is_empty() || child(node, self.has).is_some())
            && child(node, self.id)
                .and_then(|id| id.text().map(str::to_owned))
                .is_some_and(|id| id.contains(&self.only) && !self.except.contains(&id))
    }

    /// The answer with the states that are due. Answers to a Describe call take a step.
    pub(super) fn apply(&mut self, action: &str, answer: &str) -> String {
        let takes_step = action.starts_with("Describe");
        if !takes_step && !["Create", "Restore", "Copy"].iter().any(|verb| action.starts_with(verb)) {
            return answer.to_owned();
        }
        let Ok(document) = roxmltree::Document::parse(answer) else { return answer.to_owned() };
        let mut edits = Vec::new();
        let things: Vec<_> = document.descendants().filter(|node| self.is_one(node)).collect();
        for node in things {
            let id = child(&node, self.id).and_then(|id| id.text()).unwrap_or_default();
            let seen = self.seen.entry(id.to_owned()).or_default();
            let last = self.steps.len().saturating_sub(1);
            let step = if self.forever { self.steps.get((*seen).min(last)) } else { self.steps.get(*seen) };
            let Some(step) = step else { continue };
            if takes_step {
                *seen += 1;
            }
            edits.extend(self.show(&node, step));
        }
        edit(answer, edits)
    }

    fn show(&self, node: &Node<'_, '_>, step: &Step) -> Vec<(Range<usize>, String)> {
        let mut edits = Vec::new();
        let mut status = format!("<{0}>{1}</{0}>", self.status, step.status);
        if let Some((name, unit)) = self.progress {
            status.push_str(&format!("<{name}>{}{unit}</{name}>", step.progress));
            edits.extend(child(node, name).map(|known| (known.range(), String::new())));
        }
        edits.extend(child(node, self.status).map(|known| (known.range(), status)));
        edits.extend(
            step.hidden.iter().filter_map(|name| child(node, name)).map(|known| (known.range(), String::new())),
        );
        edits
    }
}

/// A text with parts of it replaced.
pub(super) fn edit(text: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    let mut text = text.to_owned();
    for (range, with) in edits {
        text.replace_range(range, &with);
    }
    text
}
