# A desktop of its own for a script beside this one: a screen, a network, a session bus, a real panel (xfce4-panel) and two
# simulated nodes; all gone when the script ends. To be sourced. Needs xvfb dbus xfce4-panel openbox xdotool imagemagick
# iproute2 curl fonts-dejavu-core and libglib2.0-bin, and a build: cargo build -p lamplighter-desktop -p lamplighter-simnode
# Sets $bin, $home, start, wait_for. $SCALE is the screen's density, 1 or 2.
set -euo pipefail
if [ -z "${IN_A_NETWORK_OF_ITS_OWN:-}" ]; then
    exec env IN_A_NETWORK_OF_ITS_OWN=1 unshare --map-root-user --net "$0" "$@"
fi
ip link set lo up
ip address add 192.168.1.20/32 dev lo
ip address add 192.168.1.50/32 dev lo
cd "$(dirname "$0")/.."
# PROFILE=release measures what `cargo build --release --workspace` made.
bin=${CARGO_TARGET_DIR:-target}/${PROFILE:-debug}
home=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; sleep 0.5; rm -rf "$home"' EXIT
start() { "$@" >>"$home/log" 2>&1 & pids+=($!); }
wait_for() { for _ in $(seq 100); do if "$@" >/dev/null 2>&1; then return; fi; sleep 0.1; done; echo "waited in vain: $*"; exit 1; }

# A screen, a session bus, a window manager.
export HOME=$home XDG_CONFIG_HOME=$home/config XDG_STATE_HOME=$home/state XDG_RUNTIME_DIR=$home/run XDG_CACHE_HOME=$home/cache
export GDK_SCALE=$SCALE GDK_BACKEND=x11 NO_AT_BRIDGE=1 LANG=C.UTF-8
unset WAYLAND_DISPLAY
mkdir -p -m 700 "$home/run"
exec 3<> <(:)
start Xvfb -displayfd 3 -screen 0 $((1280 * SCALE))x$((800 * SCALE))x24 -nolisten tcp
read -r display <&3
export DISPLAY=:$display
exec 4<> <(:)
start dbus-daemon --session --nofork --print-address=4
read -r DBUS_SESSION_BUS_ADDRESS <&4
export DBUS_SESSION_BUS_ADDRESS
start openbox
display -size $((1280 * SCALE))x$((800 * SCALE)) -window root 'xc:#4a5468' || true
panel=$XDG_CONFIG_HOME/xfce4/xfconf/xfce-perchannel-xml
mkdir -p "$panel"
cat > "$panel/xfce4-panel.xml" <<'X'
<?xml version="1.0" encoding="UTF-8"?>
<channel name="xfce4-panel" version="1.0">
  <property name="configver" type="int" value="2"/>
  <property name="panels" type="array"><value type="int" value="1"/>
    <property name="panel-1" type="empty">
      <property name="position" type="string" value="p=6;x=640;y=0"/>
      <property name="length" type="uint" value="100"/>
      <property name="size" type="uint" value="28"/>
      <property name="plugin-ids" type="array"><value type="int" value="1"/><value type="int" value="2"/></property>
    </property>
  </property>
  <property name="plugins" type="empty">
    <property name="plugin-1" type="string" value="separator"><property name="expand" type="bool" value="true"/><property name="style" type="uint" value="0"/></property>
    <property name="plugin-2" type="string" value="systray"><property name="square-icons" type="bool" value="true"/></property>
  </property>
</channel>
X
start xfce4-panel --disable-wm-check
owned() { gdbus call --session --dest org.freedesktop.DBus --object-path / --method org.freedesktop.DBus.NameHasOwner org.kde.StatusNotifierWatcher | grep -q true; }
wait_for owned

# Two machines: one that is always there, one with a graphics card at work.
models=(--model 'llama3.2:3b=2019393189,loaded')
for name in nomic-embed-text:latest qwen3:4b gemma3:4b mistral:7b phi4-mini:3.8b bge-m3:latest; do models+=(--model "$name"); done
start "$bin/lamplighter-simnode" --name nas --ip 192.168.1.20 --port 11434 --vram 0 "${models[@]}"
start "$bin/lamplighter-simnode" --name workstation --ip 192.168.1.50 --port 11434 --tok-s 61 --tokens 6000 --parallel 4 \
    --vram 25769803776 --model 'qwen3-coder:30b=18600000000,loaded' --model 'gpt-oss:20b=13800000000' \
    --model 'llama3.3:70b=42500000000'
cat > "$home/config.toml" <<'T'
[server]
listen = ["127.0.0.1:11400"]
[[node]]
name = "nas"
url = "192.168.1.20:11434"
presence = "always-on"
[[node]]
name = "workstation"
url = "192.168.1.50:11434"
gpu = "RTX 4090"
vram = "24GB"
max_concurrent = 4
T
