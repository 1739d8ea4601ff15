//! What EC2 says, as far as it matters here.

use std::collections::BTreeMap;
use std::time::Duration;

use bkhost_sdk::{Error, Result, config};
use bkhost_sdk_aws::{Client, Element, Parameters, milliseconds};

use crate::config::{Config, Place};
use crate::owned;

/// EC2 of the part's region, or of the place that its copies go to.
pub(crate) struct Ec2 {
    pub(crate) client: Client,
    /// The place's name: only copies that are there count, and without one only what is no copy.
    pub(crate) place: Option<String>,
}

/// How long a place is asked that does not answer. What is waited for there is asked about again anyway, and what is only
/// looked at is not worth keeping the host for long.
const PATIENCE: Duration = Duration::from_secs(15);
/// The name of the place's servers in the manifest.
const ENTRY: &str = "offsite";

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) gib: u64,
    pub(crate) kind: String,
    pub(crate) iops: Option<u32>,
    pub(crate) throughput: Option<u32>,
    pub(crate) zone: String,
    pub(crate) encrypted: bool,
    pub(crate) kms_key: Option<String>,
    pub(crate) multi_attach: bool,
    pub(crate) attachments: Vec<Attachment>,
}

/// Where a volume is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub(crate) instance: String,
    pub(crate) device: String,
    /// `attaching`, `attached`, `detaching`, `busy`.
    pub(crate) status: String,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) zone: String,
    pub(crate) root_device: String,
    /// The volume at each device.
    pub(crate) devices: BTreeMap<String, String>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shot {
    pub(crate) id: String,
    pub(crate) volume: String,
    /// `pending`, `completed`, `error`, and others.
    pub(crate) status: String,
    /// Why it failed.
    pub(crate) message: String,
    pub(crate) percent: u64,
    /// Milliseconds since the epoch.
    pub(crate) started: Option<u64>,
    pub(crate) gib: u64,
    /// What it takes up, if EC2 tells.
    pub(crate) bytes: Option<u64>,
    pub(crate) encrypted: bool,
    pub(crate) instance: Option<String>,
    pub(crate) part: Option<String>,
    pub(crate) run: Option<String>,
    /// The account that it belongs to.
    pub(crate) owner: String,
    /// Of a copy: the place's name, what it is a copy of, and how many there are of the run.
    pub(crate) place: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) count: Option<usize>,
    /// Of a copy: what EC2 does not tell of it.
    pub(crate) of_volume: Option<String>,
    pub(crate) device: Option<String>,
    pub(crate) kind: Option<String>,
}

impl Volume {
    pub(crate) fn read(item: &Element) -> Self {
        let attachment = |item: &Element| Attachment {
            instance: item.text("instanceId").to_owned(),
            device: item.text("device").to_owned(),
            status: item.text("status").to_owned(),
        };
        Self {
            id: item.text("volumeId").to_owned(),
            status: item.text("status").to_owned(),
            gib: item.number("size").unwrap_or(0),
            kind: item.text("volumeType").to_owned(),
            iops: item.number("iops"),
            throughput: item.number("throughput"),
            zone: item.text("availabilityZone").to_owned(),
            encrypted: item.flag("encrypted"),
            kms_key: item.get("kmsKeyId").map(str::to_owned),
            multi_attach: item.flag("multiAttachEnabled"),
            attachments: item.list("attachmentSet").iter().map(attachment).collect(),
        }
    }

    /// Its attachment to this instance.
    pub(crate) fn at(&self, instance: &str) -> Option<&Attachment> {
        self.attachments.iter().find(|attachment| attachment.instance == instance)
    }
}

impl Shot {
    /// EC2 says `status` where it lists them, and `state` where it makes several.
    pub(crate) fn read(item: &Element) -> Self {
        let tag = |key: &str| item.tag("tagSet", key).map(str::to_owned);
        Self {
            id: item.text("snapshotId").to_owned(),
            volume: item.text("volumeId").to_owned(),
            status: item.get("status").or_else(|| item.get("state")).unwrap_or_default().to_owned(),
            message: item.text("statusMessage").to_owned(),
            percent: item.text("progress").trim_end_matches('%').parse().unwrap_or(0).min(100),
            started: item.get("startTime").and_then(milliseconds),
            gib: item.number("volumeSize").unwrap_or(0),
            bytes: item.number("fullSnapshotSizeInBytes").filter(|bytes| *bytes > 0),
            encrypted: item.flag("encrypted"),
            instance: tag(owned::INSTANCE),
            part: tag(owned::PART),
            run: tag(owned::RUN),
            owner: item.text("ownerId").to_owned(),
            place: tag(owned::PLACE),
            source: tag(owned::SOURCE),
            count: tag(owned::COUNT).and_then(|text| text.parse().ok()),
            of_volume: tag(owned::VOLUME),
            device: tag(owned::DEVICE),
            kind: tag(owned::KIND),
        }
    }
}

/// A filter of a Describe call.
pub(crate) fn filter<T: ToString>(name: &str, values: impl IntoIterator<Item = T>) -> Parameters {
    Parameters::new().set("Name", name).list("Value", values)
}

impl Ec2 {
    pub(crate) fn new(config: &Config) -> Self {
        Self { client: Client::ec2(&config.region, config.endpoint.as_deref()), place: None }
    }

    /// At the place.
    pub(crate) fn there(place: &Place) -> Self {
        let client = Client::ec2(&place.region, place.endpoint.as_deref()).entry(ENTRY).patience(PATIENCE);
        Self { client, place: Some(place.name.clone()) }
    }

    /// The instance of this id.
    pub(crate) fn instance(&self, id: &str) -> Result<Instance> {
        let call = Parameters::new().list("InstanceId", [id]);
        let reservations = self.client.list("DescribeInstances", &call, "reservationSet")?;
        let mut found = reservations.iter().flat_map(|reservation| reservation.list("instancesSet"));
        let item = found
            .find(|item| item.text("instanceId") == id)
            .ok_or_else(|| gone(format!("the instance {id} does not exist")))?;
        let devices = item.list("blockDeviceMapping").iter();
        Ok(Instance {
            id: id.to_owned(),
            state: item.text("instanceState/name").to_owned(),
            zone: item.text("placement/availabilityZone").to_owned(),
            root_device: item.text("rootDeviceName").to_owned(),
            devices: devices.map(|d| (d.text("deviceName").to_owned(), d.text("ebs/volumeId").to_owned())).collect(),
        })
    }

    /// The volumes that are attached to this instance.
    pub(crate) fn volumes_of(&self, instance: &str) -> Result<Vec<Volume>> {
        self.volumes(&Parameters::new().structures("Filter", [filter("attachment.instance-id", [instance])]))
    }

    /// The volumes of these ids that exist.
    pub(crate) fn volumes_by_id(&self, ids: &[String]) -> Result<Vec<Volume>> {
        self.volumes(&Parameters::new().structures("Filter", [filter("volume-id", ids)]))
    }

    /// The volume of this id.
    pub(crate) fn volume(&self, id: &str) -> Result<Volume> {
        let mut found = self.volumes_by_id(&[id.to_owned()])?.into_iter();
        found.find(|volume| volume.id == id).ok_or_else(|| gone(format!("the volume {id} does not exist")))
    }

    fn volumes(&self, call: &Parameters) -> Result<Vec<Volume>> {
        Ok(self.client.list("DescribeVolumes", call, "volumeSet")?.iter().map(Volume::read).collect())
    }

    /// The ids of the volumes that a drill of this part has made. The tags are compared here too, as those of snapshots are.
    pub(crate) fn drilled(&self) -> Result<Vec<String>> {
        let tags =
            [(owned::INSTANCE, config::instance()), (owned::PART, config::part()), (owned::DRILL, "yes".to_owned())];
        let filters = tags.iter().map(|(tag, value)| filter(&format!("tag:{tag}"), [value]));
        let found =
            self.client.list("DescribeVolumes", &Parameters::new().structures("Filter", filters), "volumeSet")?;
        let ours = |item: &&Element| tags.iter().all(|(tag, value)| item.tag("tagSet", tag) == Some(value.as_str()));
        Ok(found.iter().filter(ours).map(|item| item.text("volumeId").to_owned()).collect())
    }

    /// Our account's snapshots that all these filters fit.
    pub(crate) fn shots(&self, filters: impl IntoIterator<Item = Parameters>) -> Result<Vec<Shot>> {
        let call = Parameters::new().list("Owner", ["self"]).structures("Filter", filters);
        Ok(self.client.list("DescribeSnapshots", &call, "snapshotSet")?.iter().map(Shot::read).collect())
    }

    /// The snapshots of these ids that exist.
    pub(crate) fn shots_by_id(&self, ids: &[String]) -> Result<Vec<Shot>> {
        if ids.is_empty() { Ok(Vec::new()) } else { self.shots([filter("snapshot-id", ids)]) }
    }
}

fn gone(what: String) -> Error {
    Error::not_found(what)
        .hint("check [part.config] against the console: its id, its region, and the account of the credentials")
}
