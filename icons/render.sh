#!/bin/sh
# Draws every PNG in icons/png from the SVG sources here. Needs rsvg-convert (Debian and Ubuntu: librsvg2-bin).
set -eu
cd "$(dirname "$0")"
rm -rf png
mkdir -p png/tray

draw() { # source, width, target
    rsvg-convert --width "$2" --height "$2" --output "png/$3.png" "$1"
}

# The small drawing has fewer, thicker lines.
draw app-icon-small.svg 32 32x32
draw app-icon.svg 128 128x128
draw app-icon.svg 256 128x128@2x
draw app-icon.svg 512 icon

# Linux panels have any colour: the coloured family reads on all. Each size uses the grid that divides it best.
for state in alert paused waking busy lit low dark; do
    for size in 22 24 44; do draw "tray/coloured/$state-22.svg" "$size" "tray/$state-$size"; done
    draw "tray/coloured/$state-16.svg" 32 "tray/$state-32"
done
