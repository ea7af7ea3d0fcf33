#!/bin/sh
# Speaks the prompts of voicemail: crates/server/prompts/texts.tsv and the numbers, in both languages, as Opus in Ogg.
# Needs espeak-ng, opus-tools and sox (Debian). What the synthesiser says is nobody's work but ours: the files have the project's licence.
set -eu
cd "$(dirname "$0")/../crates/server/prompts"

speak() { # language, name, text
  espeak-ng -v "$1" -s 165 -w spoken.wav "$3"
  # Telephone band, no silence at the ends, as loud as a voice.
  sox spoken.wav -r 8000 -c 1 -b 16 trimmed.wav silence 1 0.01 0.5% reverse silence 1 0.01 0.5% reverse gain -n -6 pad 0.03 0.08
  opusenc --quiet --speech --bitrate 14 --framesize 60 --discard-comments --discard-pictures --padding 0 trimmed.wav "$4/$2.ogg"
}

for language in en es; do
  column=2 voice=en-us
  [ $language = es ] && column=3 voice=es-419
  mkdir -p $language
  rm -f $language/*.ogg
  tail -n +2 texts.tsv | cut -f 1,$column | while IFS="$(printf '\t')" read -r name text; do
    speak $voice "$name" "$text" $language </dev/null
  done
  # Numbers: what is not built out of tens and ones.
  last=20
  [ $language = es ] && last=29
  for number in $(seq 0 $last) 30 40 50 60 70 80 90; do
    speak $voice "$number" "$number" $language
  done
done
rm -f spoken.wav trimmed.wav
