/** Binary units, one decimal. */
export function formatBytes (bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let power = 0
  while (bytes >= 1024 && power < units.length - 1) {
    bytes /= 1024
    power++
  }
  return `${power === 0 ? bytes.toFixed(0) : bytes.toFixed(1)} ${units[power]}`
}
