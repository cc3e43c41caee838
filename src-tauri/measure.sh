#!/bin/bash
# Measures the app at rest in the tray, and how long its window takes; room.sh says what it needs. Seconds of rest: $1, or 60.
SCALE=1
. "$(dirname "$0")/room.sh"

rest_s=${1:-60}
"$bin/lamplighter-desktop" --hidden --config "$home/config.toml" >>"$home/log" 2>&1 &
app=$!
pids+=($app)
wait_for curl -sf http://127.0.0.1:11400/v1/models
sleep 15

below() { local child; for child in $(cat /proc/$1/task/*/children 2>/dev/null); do echo "$child"; below "$child"; done; }
pss_mib() { local pid; for pid in "$@"; do cat "/proc/$pid/smaps_rollup" 2>/dev/null; done | awk '/^Pss:/ { kib += $2 } END { printf "%.0f", kib / 1024 }'; }
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
switches() { cat /proc/$1/task/*/status | awk '/^voluntary_ctxt_switches/ { n += $2 } END { print n }'; }

echo "build: $(file -b "$bin/lamplighter-desktop" | grep -q 'not stripped' && echo debug || echo release), load $(cut -d' ' -f1 /proc/loadavg) on $(nproc) cores"
echo "tray only: $(pss_mib $app) MiB PSS, $(ls /proc/$app/task | wc -l) threads"
each() { for task in /proc/$app/task/*; do echo "${task##*/} $(cat $task/comm | tr ' ' _) $(awk '/^voluntary/ { print $2 }' $task/status)"; done | sort; }
each >"$home/before"
t0=$(ticks $app) w0=$(switches $app)
sleep "$rest_s"
[ -n "${THREADS:-}" ] && each | join -a 1 - "$home/before" | awk '$3 > $5 { print $3 - $5, $2 }' | sort -n
awk -v t=$(($(ticks $app) - t0)) -v w=$(($(switches $app) - w0)) -v s="$rest_s" -v hz="$(getconf CLK_TCK)" \
    'BEGIN { printf "at rest for %d s, two nodes watched: %.2f %% of a core, %.1f wake-ups/s\n", s, 100 * t / hz / s, w / s }'

# From the click on the icon until the window has a picture: two colours are an empty window and its edge.
colours() { import -window root -crop 560x300+380+160 +repage -format '%k' info:; }
for round in 1 2 3 4 5; do
    began=$(date +%s%N)
    xdotool mousemove 1265 15 click 1
    for _ in $(seq 200); do [ "$(colours)" -gt 60 ] && break; sleep 0.02; done
    echo "window, round $round: painted after $(( ($(date +%s%N) - began) / 1000000 )) ms; page loaded after $(grep -o 'after_ms=[0-9]*' "$home/log" | tail -1 | cut -d= -f2) ms"
    sleep 3
    [ $round = 1 ] && echo "window open: $(pss_mib $app $(below $app)) MiB PSS with WebKit's processes"
    xdotool windowactivate --sync "$(xdotool search --onlyvisible --name '^Lamplighter$' | tail -1)" key alt+F4
    sleep 3
done
sleep 5
echo "window closed: $(pss_mib $app $(below $app)) MiB PSS"
