#!/bin/sh
# The first process of the kernel that uml.sh starts. Its root is the machine's own, through hostfs: nothing is written before
# the overlay is there. Until /proc is mounted, the machine's own is there, too.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/root
mount -t proc proc /proc || exec busybox poweroff -f
for word in $(cat /proc/cmdline); do
  case $word in
    bkhost_work=*) work=${word#bkhost_work=} ;;
    bkhost_cwd=*) cwd=${word#bkhost_cwd=} ;;
  esac
done
modules=/usr/lib/uml/modules/$(uname -r)/kernel
for module in drivers/md/dm-mod drivers/md/dm-bufio drivers/md/dm-snapshot drivers/md/dm-bio-prison \
  drivers/md/persistent-data/dm-persistent-data drivers/md/dm-thin-pool fs/overlayfs/overlay; do
  insmod "$modules/$module.ko" || echo "uml: $module is missing"
done

mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
root=/mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work root $root
mount -t devtmpfs devtmpfs $root/dev
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount -t tmpfs tmpfs $root/run
mount -t tmpfs tmpfs $root/mnt
mkdir -p $root/run/lock $root/run/lvm $root/run/uml $root/dev/pts $root/dev/shm $root/etc/lvm
mount -t devpts devpts $root/dev/pts
mount -t tmpfs tmpfs $root/dev/shm
mount -t hostfs -o "$work" none $root/run/uml
ln -sf /proc/self/fd $root/dev/fd
busybox ifconfig lo 127.0.0.1 up
# There is no udev in here.
cat >$root/etc/lvm/lvm.conf <<'LVM'
devices { dir="/dev" use_devicesfile=0 obtain_device_list_from_udev=0 external_device_info_source="none" }
activation { udev_sync=0 udev_rules=0 verify_udev_operations=0 monitoring=0 polling_interval=1 reserved_memory=256 reserved_stack=64 }
backup { backup=0 archive=0 }
global { use_lvmpolld=0 }
LVM
# The frames in which this kernel keeps registers for signals know neither AVX-512 nor its further registers.
export GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512F_Usable,-AVX512VL_Usable,-AVX512BW_Usable
export BKHOST_UML=1
chroot $root sh -c 'cd "$0" && . /run/uml/command' "$cwd" >"$work/output" 2>&1
echo $? >"$work/status"
sync
exec busybox poweroff -f
