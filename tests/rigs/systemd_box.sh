#!/usr/bin/env bash
# systemd_box.sh DIR: becomes a real systemd, as process 1 of namespaces of its own, over a copy-on-write view of this
# machine's root whose changes are kept in DIR. Nothing in it reaches the real root: not /etc, not /tmp (which systemd
# empties), not the control groups of others. The network is this machine's.
# To be started by `unshare --mount --pid --fork --kill-child --cgroup --uts --ipc`, as root; see systemd_box.py.
set -euo pipefail
box=$1
mount --make-rprivate /
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
