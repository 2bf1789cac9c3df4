/** Elements of the page, and styles for it. */

/** An SVG element with attributes, and perhaps a text. */
export function svg(tag, attributes = {}, text = '') {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  element.textContent = text
  return element
}

/** An HTML element with properties and children. */
export function html(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties)
  element.append(...children)
  return element
}

/** Styles the page with rules for elements of this pack; nothing is added to the page's own. */
export function addStyle(rules) {
  const sheet = new CSSStyleSheet()
  sheet.replaceSync(rules)
  document.adoptedStyleSheets.push(sheet)
}
