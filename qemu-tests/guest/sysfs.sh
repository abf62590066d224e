# What `keel initrd --host` looks at on a machine, as text: `l PATH TARGET` for a link, `f PATH CONTENT` for a file, whose
# line ends are written as \n. Run by the scenario `host`; tests/fixtures/host holds its output.
find /sys/devices /sys/bus/*/drivers /sys/class/block /sys/class/input /sys/dev/block -type l \
    \( -name driver -o -name module -o -path '*/slaves/*' -o -path '/sys/class/*' -o -path '/sys/dev/*' \
    -o -path '*/nvme-subsys*/nvme*' \) -printf 'l %p %l\n' | sort
{
    find /sys/devices -type f \( -name modalias -o -path '*/dm/uuid' -o -path '*/dm/name' -o -path '*/capabilities/key' \
        -o -path '*/input/input*/name' -o -name dev ! -path '*/virtual/tty/*' ! -path '*/virtual/mem/*' \)
    ls /sys/module/*/initstate
    echo /proc/swaps
} | sort | while read -r file; do
    printf 'f %s %s\n' "$file" "$(sed ':all;N;$!ball;s/\n/\\n/g' "$file")"
done
printf 'f /proc/self/mountinfo %s\n' "$(grep ' / / ' /proc/self/mountinfo)"
