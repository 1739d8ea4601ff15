//! Whether what was restored is what it must be.

use bkhost_sdk_aws::Element;

use crate::settings::{Cluster, Instance};

/// What is wrong with a restored instance: then it is not a restored one.
pub(super) fn instance(wanted: &Instance, restored: &Instance, snapshot: &Element) -> Vec<String> {
    let mut wrong =
        engine(&wanted.engine, &restored.engine, &wanted.engine_version, &restored.engine_version, snapshot);
    if !wanted.class.is_empty() && wanted.class != restored.class {
        wrong.push(format!("its class is {}, not {}", restored.class, wanted.class));
    }
    let least = snapshot.number::<u64>("AllocatedStorage").unwrap_or(0);
    if restored.allocated_gib < least {
        wrong.push(format!("it has {} GiB, and the snapshot {least} GiB", restored.allocated_gib));
    }
    if (wanted.encrypted || snapshot.flag("Encrypted")) && !restored.encrypted {
        wrong.push("it is not encrypted".to_owned());
    }
    wrong
}

/// What is wrong with a restored cluster.
pub(super) fn cluster(wanted: &Cluster, restored: &Cluster, snapshot: &Element) -> Vec<String> {
    let mut wrong =
        engine(&wanted.engine, &restored.engine, &wanted.engine_version, &restored.engine_version, snapshot);
    if wanted.class.is_some() && wanted.class != restored.class {
        wrong.push(format!("its class is {:?}, not {:?}", restored.class, wanted.class));
    }
    if (wanted.encrypted || snapshot.flag("StorageEncrypted")) && !restored.encrypted {
        wrong.push("it is not encrypted".to_owned());
    }
    wrong
}

/// What is wrong with an instance of a restored cluster.
pub(super) fn member(cluster: &Cluster, wanted: &Instance, restored: &Instance) -> Vec<String> {
    let mut wrong = Vec::new();
    if restored.engine != cluster.engine {
        wrong.push(format!("its engine is {}, not {}", restored.engine, cluster.engine));
    }
    if restored.class != wanted.class {
        wrong.push(format!("its class is {}, not {}", restored.class, wanted.class));
    }
    wrong
}

fn engine(wanted: &str, is: &str, wanted_version: &str, version: &str, snapshot: &Element) -> Vec<String> {
    let wanted = if wanted.is_empty() { snapshot.text("Engine") } else { wanted };
    let wanted_version = if wanted_version.is_empty() { snapshot.text("EngineVersion") } else { wanted_version };
    let mut wrong = Vec::new();
    if wanted != is {
        wrong.push(format!("its engine is {is}, not {wanted}"));
    }
    // A minor version may have been raised since; another major version is another database.
    let major = |version: &str| version.split('.').next().unwrap_or_default().to_owned();
    if major(wanted_version) != major(version) {
        wrong.push(format!("its version is {version}, not {wanted_version}"));
    }
    wrong
}

/// Settings that did not become what they should: worth knowing.
pub(super) fn differences(wanted: &Instance, restored: &Instance) -> Vec<String> {
    let mut all = Vec::new();
    compare("subnet group", wanted.subnet_group.as_ref(), restored.subnet_group.as_ref(), &mut all);
    compare("parameter group", wanted.parameter_group.as_ref(), restored.parameter_group.as_ref(), &mut all);
    compare("option group", wanted.option_group.as_ref(), restored.option_group.as_ref(), &mut all);
    compare("storage type", wanted.storage_type.as_ref(), restored.storage_type.as_ref(), &mut all);
    compare("port", wanted.port.as_ref(), restored.port.as_ref(), &mut all);
    compare("public accessibility", wanted.public.as_ref(), restored.public.as_ref(), &mut all);
    compare("multi-AZ", Some(&wanted.multi_az), Some(&restored.multi_az), &mut all);
    groups(&wanted.security_groups, &restored.security_groups, &mut all);
    all
}

/// The same of a cluster.
pub(super) fn cluster_differences(wanted: &Cluster, restored: &Cluster) -> Vec<String> {
    let mut all = Vec::new();
    compare("subnet group", wanted.subnet_group.as_ref(), restored.subnet_group.as_ref(), &mut all);
    compare("parameter group", wanted.parameter_group.as_ref(), restored.parameter_group.as_ref(), &mut all);
    compare("port", wanted.port.as_ref(), restored.port.as_ref(), &mut all);
    groups(&wanted.security_groups, &restored.security_groups, &mut all);
    all
}

fn compare<T: PartialEq + std::fmt::Display>(what: &str, wanted: Option<&T>, is: Option<&T>, all: &mut Vec<String>) {
    let Some(wanted) = wanted else { return };
    if is != Some(wanted) {
        let is = is.map_or_else(|| "not told".to_owned(), ToString::to_string);
        all.push(format!("its {what} is {is}, not {wanted}"));
    }
}

fn groups(wanted: &[String], is: &[String], all: &mut Vec<String>) {
    let sorted = |groups: &[String]| {
        let mut groups = groups.to_vec();
        groups.sort();
        groups.join(", ")
    };
    if !wanted.is_empty() && sorted(wanted) != sorted(is) {
        all.push(format!("its security groups are {}, not {}", sorted(is), sorted(wanted)));
    }
}
