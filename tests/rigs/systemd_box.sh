#!/usr/bin/env bash
# systemd_box.sh DIR GROUP: becomes a real systemd, as process 1 of namespaces of its own, over a copy-on-write view of
# this machine's root whose changes are kept in DIR. Nothing in it reaches the real root: not /etc, not /tmp (which systemd
# empties), not the control groups of others: its own are below GROUP. The network is this machine's.
# To be started by `unshare --mount --pid --fork --kill-child --uts --ipc`, as root; see systemd_box.py.
# systemd_box.sh DIR GROUP remove: removes the control groups of one that is off; by `unshare --mount`.
set -euo pipefail
box=$1 group=$2 part=${3:-enter}
if [ "$part" != boot ]; then
    mount --make-rprivate /
    mkdir -p "$box/groups"
    mount -t cgroup2 cgroup2 "$box/groups"
fi
case $part in
remove)
    [ ! -d "$box/groups/$group" ] || find "$box/groups/$group" -depth -type d -exec rmdir {} +
    exit
    ;;
enter)
    # A cgroup namespace begins at the group that its maker is in (cgroup_namespaces(7)): made in the real root, it would
    # have every box, and whatever else boots a systemd here, start and end its services in one tree.
    mkdir -p "$box/groups/$group"
    echo 0 >"$box/groups/$group/cgroup.procs"
    umount "$box/groups"
    exec unshare --cgroup bash "$0" "$box" "$group" boot
    ;;
esac
mkdir -p "$box/changes" "$box/work" "$box/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$box/changes,workdir=$box/work" "$box/root"
cd "$box/root"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs -o mode=0755 tmpfs run # as systemd mounts it: only root makes folders there
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 sys/fs/cgroup
if [ ! -e "$box/prepared" ]; then
    # Nothing of this machine's starts by itself, and nothing touches its devices, network or clock.
    rm -rf etc/systemd/system/*.wants etc/systemd/system/default.target var/spool/cron/crontabs/*
    : >etc/machine-id
    for unit in systemd-tmpfiles-clean.timer systemd-resolved.service systemd-networkd.service \
        systemd-timesyncd.service systemd-udevd.service getty.target; do
        ln -sf /dev/null "etc/systemd/system/$unit"
    done
    ln -sf /lib/systemd/system/multi-user.target etc/systemd/system/default.target
    mkdir -p var/log/journal # so that what was logged is still there after a reboot
    touch "$box/prepared"
fi
export container=box PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Not chroot alone: a process in one may make no user namespace, which PrivateUsers= is.
mkdir -p mnt/old
pivot_root . mnt/old
cd /
umount -l mnt/old
mount --make-rshared / # LoadCredential= mounts in a namespace of its own and counts on propagation
exec env -i container=box PATH="$PATH" \
    /lib/systemd/systemd --system --log-target=journal --show-status=0 --log-level=notice
