/** How the picture of a curve looks: colours come from ComfyUI's theme, so that light and dark follow it. */
export const STYLE = `
.ddim-curve {
  --line: #3b87d6;
  display: flex; flex-direction: column; gap: 4px; box-sizing: border-box;
  width: 100%; height: 100%; min-height: 170px; overflow: hidden;
  font: 10px/1.2 Inter, Arial, sans-serif; color: var(--input-text, #ddd);
}
.ddim-curve-presets { display: flex; flex: none; gap: 4px; }
.ddim-curve-presets button {
  flex: 1; min-width: 0; padding: 2px 4px; overflow: hidden; font: inherit; color: inherit; cursor: pointer;
  background: var(--comfy-input-bg, #222); border: 1px solid var(--border-color, #4e4e4e); border-radius: 4px;
}
.ddim-curve-presets button:enabled:hover { border-color: var(--line); }
.ddim-curve-presets button:disabled { cursor: default; opacity: 0.4; }
.ddim-curve-presets button:focus-visible { outline: 1px solid var(--line); }
.ddim-curve-box { position: relative; flex: 1; min-height: 0; background: var(--comfy-input-bg, #222); border-radius: 4px; }
.ddim-curve-plot { position: absolute; inset: 0; width: 100%; height: 100%; outline: none; touch-action: none; user-select: none; border-radius: 4px; }
.ddim-curve-plot * { pointer-events: none; }
.ddim-curve-plot:focus-visible { box-shadow: inset 0 0 0 1px var(--line); }
.ddim-curve-plot text { font-size: 10px; fill: var(--descrip-text, #999); }
.ddim-curve-plot .frame { fill: none; stroke: var(--border-color, #4e4e4e); }
.ddim-curve-plot .grid { stroke: var(--border-color, #4e4e4e); stroke-width: 0.5; }
.ddim-curve-plot .area { fill: var(--line); fill-opacity: 0.13; }
.ddim-curve-plot .line { fill: none; stroke: var(--line); stroke-width: 1.75; stroke-linejoin: round; }
.ddim-curve-plot .step { fill: var(--input-text, #ddd); }
.ddim-curve-plot .tick { stroke: var(--descrip-text, #999); stroke-width: 0.75; }
.ddim-curve-plot .value {
  font-size: 9px; fill: var(--input-text, #ddd);
  paint-order: stroke; stroke: var(--comfy-input-bg, #222); stroke-width: 3px; stroke-linejoin: round;
}
.ddim-curve-plot .foot { fill: var(--input-text, #ddd); }
.ddim-curve-plot .point { fill: var(--comfy-input-bg, #222); stroke: var(--line); stroke-width: 2; }
.ddim-curve-plot .chosen { fill: var(--line); stroke: var(--input-text, #ddd); }
.ddim-curve-plot .leaving { fill: none; stroke: var(--error-text, #ff4444); stroke-dasharray: 2 2; }
.ddim-curve-end {
  position: absolute; left: 0; width: 30px; box-sizing: border-box; padding: 0 1px; text-align: right;
  font: 10px/14px Inter, Arial, sans-serif; color: var(--descrip-text, #999);
  background: transparent; border: 1px solid transparent; border-radius: 3px; outline: none;
}
.ddim-curve-end:hover, .ddim-curve-end:focus { border-color: var(--border-color, #4e4e4e); }
.ddim-curve-end:focus { color: var(--input-text, #ddd); border-color: var(--line); }
.ddim-curve-held { font-weight: bold; color: var(--input-text, #ddd); }
.ddim-curve-high { top: 6px; }
.ddim-curve-low { bottom: 22px; }
.ddim-curve-notice {
  position: absolute; inset: 24px 14px 34px 40px; display: flex; align-items: center; justify-content: center;
  text-align: center; font-size: 11px; pointer-events: none;
}
.ddim-curve-notice:empty { display: none; }
.ddim-curve-off .ddim-curve-plot > * { opacity: 0.2; }
`

/**
 * For the page itself. Where nodes are elements, an input of two types is coloured by one variable of both their names,
 * of which the first counts; without it the input shows no dot. The pack's help breaks long names of inputs.
 */
export const PAGE_STYLE = `
:root { --color-datatype-DDIM_CURVE: #AAA; }
.node-help-content:has(img[src*="/docs/pictures/DDIM"]) { overflow-wrap: anywhere; }
`
