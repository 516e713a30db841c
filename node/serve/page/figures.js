/** A new element with its class and content. */
export function element (name, className, ...content) {
  const made = document.createElement(name)
  if (className) made.className = className
  made.append(...content)
  return made
}

/** Sets text only where it changes, so that screen readers and selections are left alone. */
export function setText (target, text) {
  if (target.textContent !== text) target.textContent = text
}

export function milliseconds (ms) {
  if (ms === null || !Number.isFinite(ms)) return '–'
  if (ms >= 10_000) return `${(ms / 1000).toFixed(1)} s`
  return `${ms < 10 ? ms.toFixed(2) : ms < 100 ? ms.toFixed(1) : ms.toFixed(0)} ms`
}

/** A bar of parts, each a class and a share of the whole. */
export function bars (parts) {
  const made = element('span', 'bars')
  for (const [className, share] of parts) {
    const part = element('i', className)
    part.style.width = `${(100 * Math.min(1, share)).toFixed(1)}%`
    made.append(part)
  }
  return made
}
