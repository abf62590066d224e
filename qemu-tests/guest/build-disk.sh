#!/bin/sh
# PID 1 of the builder machine: makes the disks of one layout by Debian's own tools, says what they load into the
# kernel, and switches off. The kernel hands its parameters over as variables:
#   layout      lvm-on-luks, thin-on-luks, luks-on-lvm, lvm, cached-lvm, luks or partition: what the root lies in; or
#               `tables`: the disks' groups are activated and their tables said, nothing is made
#   luks_uuids  one for each target disk (lvm-on-luks, thin-on-luks), or one
#   names       the mappings' names, in the same order
#   file_system ext4, xfs or btrfs; subvolume is the root's on btrfs
#   passphrase, root_mib, root_uuid, partition_uuid, swap_mib, swap_uuid, stripes
#   stick       label of the file system on the last disk, a stick: then the first volume is LUKS1 and the second one's
#               header lies on the stick, with keyfiles for both
#   vault_uuid  the second disk is a volume of this UUID with swap space, its header and keyfile are on the stick: for lvm
# Disks: vda the root file system's image, vdb the ESP's contents as a tar archive, vdc and on the targets.
set -eu
export PATH=/usr/sbin:/usr/bin DM_DISABLE_UDEV=1 LC_ALL=C.UTF-8

finish() {
    code=$?
    [ $code = 0 ] && echo "KEEL-BUILDER-DONE" || echo "KEEL-BUILDER-FAILED $code"
    sync
    # Switches off without asking; until it's done, PID 1 must not end.
    echo o >/proc/sysrq-trigger
    sleep 600
}
trap finish EXIT

say() {
    read -r up _ </proc/uptime
    echo "builder $up: $*"
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mkdir -p /run/cryptsetup /run/lock/lvm
modprobe -a virtio_pci virtio_blk dm_mod dm_crypt xts cbc essiv ext4 xfs btrfs vfat nls_cp437 nls_ascii af_alg algif_skcipher algif_hash
cat >/etc/lvm/lvmlocal.conf <<EOF
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
devices { use_devicesfile = 0 obtain_device_list_from_udev = 0 external_device_info_source = "none" }
backup { backup = 0 archive = 0 }
EOF

if [ "$layout" = tables ]; then
    # It fails when there are groups that it refuses.
    vgchange -q -aay || say "vgchange ended with $?"
    echo "KEEL-TABLES-BEGIN"
    (
@TABLES@
    )
    echo "KEEL-TABLES-END"
    exit
fi

targets=$(ls -d /dev/vd[c-z])
# Takes the last disk off the targets.
take_last() {
    for last in $targets; do :; done
    targets=${targets%"$last"*}
}
header=
if [ -n "${stick:-}" ]; then
    take_last
    mkfs.vfat -F 32 -n "$stick" "$last" >/dev/null
    mkdir -p /run/stick
    mount -t vfat "$last" /run/stick
    head -c 4096 /dev/urandom >/run/stick/first.key
    head -c 64 /dev/urandom >/run/stick/second.key
    header=/run/stick/root.hdr
fi
vault=
if [ -n "${vault_uuid:-}" ]; then
    take_last
    printf 'label: gpt\ntype=L, name=keel-2\n' | sfdisk --quiet "$last"
    vault=${last}1
fi
say "partitions on" $targets
partitions=""
for disk in $targets; do
    if [ -z "$partitions" ]; then
        printf 'label: gpt\nsize=300MiB, type=U, name=esp\ntype=L, name=keel-1, uuid=%s\n' "$partition_uuid" |
            sfdisk --quiet "$disk"
        esp=${disk}1
        partitions=${disk}2
    else
        printf 'label: gpt\ntype=L, name=keel-2\n' | sfdisk --quiet "$disk"
        partitions="$partitions ${disk}1"
    fi
done

say "ESP"
mkfs.vfat -F 32 -n ESP "$esp" >/dev/null
mkdir -p /run/esp
mount -t vfat "$esp" /run/esp
tar -x --no-same-owner -f /dev/vdb -C /run/esp
umount /run/esp

# Small costs for the key derivation: it's emulated here and at every boot. `$sector_size` is set for 4096-byte blocks.
encrypt() {
    if [ -n "$header" ] && [ "$1" = "${partitions%% *}" ]; then
        printf %s "$passphrase" | cryptsetup luksFormat --batch-mode --type luks1 --uuid "$2" --key-file - \
            --cipher aes-cbc-essiv:sha256 --key-size 256 --hash ripemd160 --pbkdf-force-iterations 1000 "$1"
        printf %s "$passphrase" | cryptsetup luksAddKey --key-file - --pbkdf-force-iterations 1000 \
            "$1" /run/stick/first.key
        return
    fi
    printf %s "$passphrase" | cryptsetup luksFormat --batch-mode --type luks2 --uuid "$2" --key-file - \
        --pbkdf argon2id --pbkdf-memory 8192 --pbkdf-force-iterations 4 --pbkdf-parallel 2 \
        ${sector_size:+--sector-size "$sector_size"} ${header:+--header "$header"} "$1"
    [ -z "$header" ] || printf %s "$passphrase" | cryptsetup luksAddKey --key-file - --pbkdf pbkdf2 \
        --pbkdf-force-iterations 1000 --header "$header" "$1" /run/stick/second.key
}

quick="--perf-no_read_workqueue --perf-no_write_workqueue"
unlock() {
    detached=$header
    [ "$1" != "${partitions%% *}" ] || detached=
    printf %s "$passphrase" | cryptsetup open --allow-discards --key-file - $quick ${detached:+--header "$detached"} "$1" "$2"
}

# Calls `$1 PARTITION UUID NAME` for every volume.
each_volume() {
    remaining_uuids=$luks_uuids
    remaining_names=$names
    for partition in $2; do
        uuid=${remaining_uuids%%,*} remaining_uuids=${remaining_uuids#*,}
        name=${remaining_names%%,*} remaining_names=${remaining_names#*,}
        "$1" "$partition" "$uuid" "$name"
    done
}
encrypt_one() { encrypt "$1" "$2"; }
unlock_one() { unlock "$1" "$3"; mapped="$mapped /dev/mapper/$3"; }
close_one() { cryptsetup close "$3"; }

say "LUKS and LVM"
mapped=""
case $layout in
lvm-on-luks)
    each_volume encrypt_one "$partitions"
    each_volume unlock_one "$partitions"
    # A chunk of 16 KiB, so that files lie on all disks.
    vgcreate -q vg $mapped
    lvcreate -q -y -Wn -Zn -n root -L "${root_mib}m" ${stripes:+-i "$stripes" -I 16k} vg
    lvcreate -q -y -Wn -Zn -n swap -L "${swap_mib}m" vg
    root=/dev/vg/root
    ;;
thin-on-luks)
    modprobe -a dm_thin_pool dm_raid raid1
    each_volume encrypt_one "$partitions"
    each_volume unlock_one "$partitions"
    vgcreate -q vg $mapped
    lvcreate -q -y -Wn -Zn -n swap -L "${swap_mib}m" vg ${mapped##* }
    # All of the pool is on both disks.
    lvcreate -q -y -Wn -Zn --type raid1 -m 1 --nosync -n pool -L "${root_mib}m" vg
    lvcreate -q -y -Wn -Zn --type raid1 -m 1 --nosync -n meta -L 4m vg
    lvconvert -q -y --type thin-pool -Zn --poolmetadata vg/meta --poolmetadataspare n vg/pool
    lvcreate -q -y -Wn -V "$((root_mib - 4))m" --thinpool pool -n root vg
    root=/dev/vg/root
    ;;
luks-on-lvm)
    vgcreate -q vg $partitions
    lvcreate -q -y -Wn -Zn -n crypt -L "$((root_mib + 16))m" vg
    lvcreate -q -y -Wn -Zn -n swap -L "${swap_mib}m" vg
    each_volume encrypt_one /dev/vg/crypt
    each_volume unlock_one /dev/vg/crypt
    root=${mapped# }
    ;;
lvm)
    vgcreate -q vg $partitions
    lvcreate -q -y -Wn -Zn -n root -L "${root_mib}m" vg
    lvcreate -q -y -Wn -Zn -n swap -L "${swap_mib}m" vg
    root=/dev/vg/root
    ;;
cached-lvm)
    modprobe -a dm_cache dm_cache_smq
    vgcreate -q vg $partitions
    lvcreate -q -y -Wn -Zn -n root -L "${root_mib}m" vg "${partitions%% *}"
    lvcreate -q -y -Wn -Zn -n swap -L "${swap_mib}m" vg "${partitions%% *}"
    lvcreate -q -y --type cache-pool --poolmetadataspare n -n fast -L 32m vg "${partitions##* }"
    lvconvert -q -y --type cache --cachepool vg/fast vg/root
    root=/dev/vg/root
    ;;
luks)
    each_volume encrypt_one "$partitions"
    each_volume unlock_one "$partitions"
    root=${mapped# }
    ;;
partition)
    root=$partitions
    ;;
esac

say "root file system"
fill() {
    mount -t ext4 -o ro,noload /dev/vda /run/image
    cp -a /run/image/. "$1"
    umount /run/image /run/root
}
mkdir /run/image /run/root
case $file_system in
ext4)
    e2image -ra /dev/vda "$root"
    ;;
xfs)
    mkfs.xfs -q -f -m "uuid=$root_uuid" -L root "$root"
    mount -t xfs "$root" /run/root
    fill /run/root
    ;;
btrfs)
    mkfs.btrfs -q -U "$root_uuid" -L root "$root"
    mount -t btrfs "$root" /run/root
    btrfs -q subvolume create "/run/root/$subvolume"
    fill "/run/root/$subvolume"
    ;;
esac
case $layout in
*lvm* | thin-on-luks) mkswap -q -U "$swap_uuid" -L swap /dev/vg/swap ;;
esac
if [ -n "$vault" ]; then
    say "vault"
    key=/run/stick/second.key
    cryptsetup luksFormat --batch-mode --type luks2 --uuid "$vault_uuid" --key-file $key --pbkdf pbkdf2 \
        --pbkdf-force-iterations 1000 --header "$header" "$vault"
    cryptsetup open --key-file $key --header "$header" "$vault" vault
    mkswap -q -L vault /dev/mapper/vault
    cryptsetup close vault
fi
sync

say "once more from the start, as a boot does it"
quick=""
case $layout in
lvm-on-luks | thin-on-luks)
    vgchange -q -an vg
    each_volume close_one "$partitions"
    each_volume unlock_one "$partitions"
    vgchange -q -ay vg
    ;;
luks-on-lvm)
    each_volume close_one /dev/vg/crypt
    vgchange -q -an vg
    vgchange -q -ay vg
    each_volume unlock_one /dev/vg/crypt
    ;;
lvm | cached-lvm)
    vgchange -q -an vg
    vgchange -q -ay vg
    ;;
luks)
    each_volume close_one "$partitions"
    each_volume unlock_one "$partitions"
    ;;
esac
case $file_system in
# All of it was checked before it was copied.
ext4) e2fsck -n "$root" ;;
xfs) xfs_repair -n "$root" ;;
btrfs) btrfs check "$root" ;;
esac
echo "KEEL-TABLES-BEGIN"
@TABLES@
echo "KEEL-TABLES-END"

case $layout in
lvm-on-luks | thin-on-luks)
    vgchange -q -an vg
    each_volume close_one "$partitions"
    ;;
luks-on-lvm)
    each_volume close_one /dev/vg/crypt
    vgchange -q -an vg
    ;;
lvm | cached-lvm)
    vgchange -q -an vg
    ;;
luks)
    each_volume close_one "$partitions"
    ;;
esac
[ -z "$header" ] || umount /run/stick
say "made"
