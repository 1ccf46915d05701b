// Characters that cannot be seen, shown: they can hide a difference between two answers, or turn
// the order of the letters round.  What belongs to an emoji or to a script that joins its letters
// is left alone.

import { make } from "./dom.js";

const NAMES = {
  "\t": ["⇥", "tab"], "\r": ["␍", "carriage return"], "\u007f": ["␡", "delete"],
  "\u00a0": ["⍽", "no-break space"], "\u202f": ["⍽", "narrow no-break space"],
  "\u00ad": ["SHY", "soft hyphen"], "\u034f": ["CGJ", "combining grapheme joiner"],
  "\u061c": ["ALM", "Arabic letter mark"], "\u2028": ["LS", "line separator"],
  "\u2029": ["PS", "paragraph separator"], "\u200b": ["ZWSP", "zero width space"],
  "\u200c": ["ZWNJ", "zero width non-joiner"], "\u200d": ["ZWJ", "zero width joiner"],
  "\u200e": ["LRM", "left-to-right mark"], "\u200f": ["RLM", "right-to-left mark"],
  "\u202a": ["LRE", "left-to-right embedding"], "\u202b": ["RLE", "right-to-left embedding"],
  "\u202c": ["PDF", "pop directional formatting"], "\u202d": ["LRO", "left-to-right override"],
  "\u202e": ["RLO", "right-to-left override"], "\u2060": ["WJ", "word joiner"],
  "\u2066": ["LRI", "left-to-right isolate"], "\u2067": ["RLI", "right-to-left isolate"],
  "\u2068": ["FSI", "first strong isolate"], "\u2069": ["PDI", "pop directional isolate"],
  "\ufeff": ["BOM", "byte order mark"], "\u2800": ["⠀", "blank Braille pattern"],
};

// First what is left alone (a flag of a region, a joined or coloured emoji, a joiner inside a word
// of a script that uses it), then what is shown: one character each.
const ALONE = String.raw`🏴[\u{e0030}-\u{e0039}\u{e0061}-\u{e007a}]{3,6}\u{e007f}`
  + String.raw`|\p{Extended_Pictographic}[\ufe0e\ufe0f\p{Emoji_Modifier}]*(?:\u200d\p{Extended_Pictographic}[\ufe0e\ufe0f\p{Emoji_Modifier}]*)*`
  + String.raw`|[#*0-9]\ufe0f?\u20e3`
  + String.raw`|(?<=[\p{sc=Arabic}\p{sc=Syriac}\p{sc=Devanagari}\p{sc=Bengali}\p{sc=Gurmukhi}\p{sc=Gujarati}\p{sc=Oriya}\p{sc=Tamil}\p{sc=Telugu}\p{sc=Kannada}\p{sc=Malayalam}\p{sc=Sinhala}])[\u200c\u200d](?=\p{L}|\p{M})`;
const SHOWN = String.raw`(?<shown>(?![\n ])[\p{Cc}\p{Cs}\p{Zs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800\ufff9-\ufffb])`;
const SIGN = new RegExp(`${ALONE}|${SHOWN}`, "gu");

/** A text as nodes: what can be seen as text, what cannot as a mark with a name. */
export function visible(text) {
  const nodes = [];
  let from = 0;
  for (const found of text.matchAll(SIGN)) {
    if (!found.groups.shown) continue;
    if (found.index > from) nodes.push(text.slice(from, found.index));
    nodes.push(mark(found[0]));
    from = found.index + found[0].length;
  }
  if (from < text.length) nodes.push(text.slice(from));
  return nodes;
}

function mark(sign) {
  const code = sign.codePointAt(0);
  const number = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
  const [label, name] = NAMES[sign] ?? (code < 32 ? [String.fromCodePoint(0x2400 + code), "control character"]
    : [number, "a character that cannot be seen"]);
  const node = make("span", { class: "sign", role: "img", title: `${number} ${name}`, "aria-label": name }, label);
  return sign === "\t" ? make("span", { class: "tab" }, node, "\t") : node;
}
