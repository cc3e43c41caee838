#!/bin/bash
# Takes docs/tray-waking.png and docs/notification.png: a machine is woken in a real panel, and a real dunst says that it is awake.
# room.sh says what it needs; this also needs dunst and python3, for the machine's network card.
SCALE=2
. "$(dirname "$0")/room.sh"
workstation=${pids[-1]}

# As an installed app has it.
mkdir "$home/icons"
cp icons/png/128x128.png "$home/icons/lamplighter-desktop.png"
cat > "$home/dunstrc" <<T
[global]
width = (620, 860)
height = 400
origin = top-right
offset = 40x100
font = DejaVu Sans 20
padding = 26
horizontal_padding = 34
frame_width = 2
frame_color = "#cfc8bf"
corner_radius = 20
format = "<b>%s</b>\\n%b"
icon_position = left
min_icon_size = 96
max_icon_size = 96
text_icon_padding = 30
icon_path = "$home/icons"
show_indicators = no
[urgency_normal]
background = "#fbf9f5"
foreground = "#2b2723"
timeout = 0
T
start dunst -conf "$home/dunstrc"
notifies() { gdbus call --session --dest org.freedesktop.DBus --object-path / --method org.freedesktop.DBus.NameHasOwner org.freedesktop.Notifications | grep -q true; }
wait_for notifies

# The workstation sleeps and is woken by a packet: first once unseen, so that its usual time is known, then for the pictures.
cat >> "$home/config.toml" <<'T'
[node.wake]
mac = "a8:a1:59:0c:1d:2e"
broadcast = ["127.0.0.1:40019"]
[[alias]]
name = "coder"
models = ["qwen3-coder:30b"]
T
start "$bin/lamplighter-desktop" --config "$home/config.toml"
wait_for curl -sf http://127.0.0.1:11400/v1/models
last_state() { grep -o 'node="workstation" from=.* to="[a-z]*' "$home/log" | tail -1 | grep -q "to=\"$1\$"; }
wait_for_state() { for _ in 1 2 3 4 5; do if (wait_for last_state "$1") >/dev/null; then return; fi; done; echo "workstation is not $1"; exit 1; }
# Its address takes no connection and refuses none; its card hears the packet, and $1 seconds later the machine is there.
sleep_and_wake() {
    kill "$workstation"
    python3 - "$1" <<'P' &
import socket, sys, time
off = socket.socket()
off.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
for _ in range(50):
    try:
        off.bind(("192.168.1.50", 11434))
        break
    except OSError:
        time.sleep(0.1)
off.listen(0)
full = [socket.socket() for _ in range(3)]
for one in full:
    one.setblocking(False)
    one.connect_ex(("192.168.1.50", 11434))
card = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
card.bind(("127.0.0.1", 40019))
card.settimeout(90)
card.recv(512)
time.sleep(float(sys.argv[1]))
P
    card=$!
    wait_for_state asleep
}
comes_back() { wait "$card"; start_workstation; wait_for_state up; }
start_workstation() {
    start "$bin/lamplighter-simnode" --name workstation --ip 192.168.1.50 --port 11434 --tok-s 61 --tokens 900 --parallel 4 \
        --vram 25769803776 --model 'qwen3-coder:30b=18600000000' --model 'gpt-oss:20b=13800000000' --model 'llama3.3:70b=42500000000'
    workstation=${pids[-1]}
}
wait_for_state up
sleep_and_wake 11
"$bin/lamplighter" --config "$home/config.toml" wake workstation
comes_back
dunstctl close-all
sleep_and_wake 11
start curl -sN -A 'OpenWebUI/0.6' http://127.0.0.1:11400/v1/chat/completions -d '{"model":"coder","stream":true,"messages":[{"role":"user","content":"hello"}]}'
sleep 4

shot() { import -window root -crop "$2" +repage "docs/$1"; echo "docs/$1: $(identify -format '%w x %h' "docs/$1")"; }
import -window root -crop 1080x300+1480+0 +repage "$home/before.png"
# The menu is opened by the pointer, which then goes out of the way of tooltips.
xdotool mousemove 2530 30 click 3
sleep 1
xdotool mousemove 400 1200
sleep 0.5
dunstctl close-all
sleep 0.5
shot tray-waking.png 1080x600+1480+0
xdotool key Escape
comes_back
sleep 1.5
import -window root -crop 1080x300+1480+0 +repage "$home/after.png"
convert "$home/before.png" "$home/after.png" -append docs/notification.png
echo "docs/notification.png: $(identify -format '%w x %h' docs/notification.png)"
