"""moto, with what Amazon does and moto 5.2 does not: another account copies a snapshot that is shared with it, and no other.

Started by moto.sh. A copy of an EBS snapshot belongs to no volume, and is encrypted if a key is given. A key of RDS need not
exist here. The account of a key is known at once.
"""

import copy
import sys

from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.exceptions import InvalidSnapshotIdError
from moto.ec2.models import ec2_backends
from moto.ec2.models.elastic_block_store import EBSBackend, Snapshot
from moto.ec2.utils import random_snapshot_id
from moto.iam import models as iam
from moto.rds.models import RDSBackend, rds_backends
from moto.server import main


def seen(backend, snapshot_id, region):
    """The snapshot of this id, if it is this account's or shared with it."""
    for account in list(ec2_backends):
        found = ec2_backends[account][region].snapshots.get(snapshot_id)
        if found and (account == backend.account_id or backend.account_id in found.create_volume_permission_userids):
            return found
    raise InvalidSnapshotIdError()


def copy_snapshot(self, source_snapshot_id, source_region, description, kms_key_id):
    source = seen(self, source_snapshot_id, source_region)
    volume = copy.copy(source.volume)
    volume.id = "vol-ffffffff"
    key = kms_key_id or None
    made = Snapshot(self, random_snapshot_id(), volume, description, encrypted=source.encrypted, kms_key_id=key)
    self.snapshots[made.id] = made
    return made


own_snapshot = RDSBackend.get_snapshot


def get_snapshot(self, identifier, resource_type, not_found_exception):
    fields = identifier.split(":")
    if len(fields) == 7 and fields[4] != self.account_id:
        found = rds_backends[fields[4]][fields[3]].resource_map[resource_type].get(fields[6])
        if found is None or self.account_id not in found.attributes["restore"]:
            raise not_found_exception(identifier)
        return found
    return own_snapshot(self, identifier, resource_type, not_found_exception)


def elsewhere(own_copy, holder):
    """A copy takes nothing along that is only where the database was."""

    def copied(self, *args, **kwargs):
        made = own_copy(self, *args, **kwargs)
        source = next(value for key, value in kwargs.items() if key.startswith("source_"))
        if source.startswith("arn:") and source.split(":")[3:5] != [self.region_name, self.account_id]:
            database = copy.copy(getattr(made, holder))
            database.db_subnet_group_name = None
            setattr(made, holder, database)
        return made

    return copied


def get_account_id_from(access_key):
    """The account of a key. moto's own makes each partition of each account, with a thousand policies, to look into it."""
    for account_id, account in list(iam.iam_backends.items()):
        if any(access_key in backend.access_keys for backend in list(account.values())):
            return account_id
    return DEFAULT_ACCOUNT_ID


iam.get_account_id_from = get_account_id_from
EBSBackend.copy_snapshot = copy_snapshot
RDSBackend.copy_db_snapshot = elsewhere(RDSBackend.copy_db_snapshot, "database")
RDSBackend.get_snapshot = get_snapshot
RDSBackend._validate_kms_key = lambda self, key: key

if __name__ == "__main__":
    sys.exit(main())
