dmsetup table | sed 's/^/table /'
dmsetup info -c --noheadings --separator ' ' -o name,uuid | sed 's/^/uuid /'
for device in /sys/dev/block/*; do
    name=$(cat "$device/dm/name" 2>/dev/null || sed -n 's/^PARTNAME=//p' "$device/uevent")
    echo "device ${device##*/} $name"
    echo "disk ${device##*/} $(sed -n 's/^DEVNAME=//p' "$device/uevent")"
done
