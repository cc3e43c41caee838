#!/bin/bash
# Takes docs/tray-menu.png, docs/tray-submenu.png, docs/window.png and docs/icons-states.png; room.sh says what it needs.
SCALE=2
. "$(dirname "$0")/room.sh"

start "$bin/lamplighter-desktop" --config "$home/config.toml"
wait_for curl -sf http://127.0.0.1:11400/v1/models
ask() { start curl -sN -A "$1" http://127.0.0.1:11400/v1/chat/completions -d '{"model":"qwen3-coder:30b","stream":true,"messages":[{"role":"user","content":"hello"}]}'; }
ask 'claude-cli/2.0'
sleep 3
ask 'OpenWebUI/0.6'
sleep 4

shot() { import -window root -crop "$2" +repage "docs/$1"; echo "docs/$1: $(identify -format '%w x %h' "docs/$1")"; }
# The keyboard walks the menu: the pointer would bring its tooltip.
open_menu() { xdotool mousemove 2530 30 click 3; sleep 1; xdotool mousemove 400 1200; sleep 0.5; }
open_menu
shot tray-menu.png 1080x600+1480+0
xdotool key Down Down Down Right
sleep 1.5
shot tray-submenu.png 1640x600+920+0
xdotool key Escape Escape Escape
sleep 1
xdotool mousemove 2530 30 click 1
wait_for xdotool search --onlyvisible --name '^Lamplighter$'
sleep 4
import -window "$(xdotool search --onlyvisible --name '^Lamplighter$' | tail -1)" docs/window.png
echo "docs/window.png: $(identify -format '%w x %h' docs/window.png)"

# The seven lamps on a light and on a dark panel: as the panel draws them, twice that, and their names.
tiles=()
for state in dark low lit busy waking paused alert; do
    for panel in '#f6f5f4 #2b2723' '#2b2723 #f6f5f4'; do
        read -r back ink <<<"$panel"
        convert -size 132x120 "xc:$back" icons/png/tray/$state-44.png -geometry +44+12 -composite \
            icons/png/tray/$state-22.png -geometry +55+62 -composite \
            -font DejaVu-Sans -pointsize 15 -fill "$ink" -gravity south -annotate +0+8 "$state" "$home/$state-$back.png"
    done
    convert "$home/$state-#f6f5f4.png" "$home/$state-#2b2723.png" -append "$home/$state.png"
    tiles+=("$home/$state.png")
done
convert "${tiles[@]}" +append docs/icons-states.png
echo "docs/icons-states.png: $(identify -format '%w x %h' docs/icons-states.png)"
