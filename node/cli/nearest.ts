/** Names that differ by more of their length than this are no misspelling. */
const MAX_DIFFERENCE = 0.4

/** The candidate that `word` was most likely meant to be; undefined when none is near. */
export function nearest (word: string, candidates: string[]): string | undefined {
  const normal = (text: string): string => text.toLowerCase().replace(/[-_]/g, '')
  const ranked = candidates
    .map(candidate => ({ candidate, distance: editDistance(normal(word), normal(candidate)) / Math.max(word.length, candidate.length) }))
    .sort((a, b) => a.distance - b.distance)
  return ranked.length > 0 && ranked[0].distance <= MAX_DIFFERENCE ? ranked[0].candidate : undefined
}

/** Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours. */
function editDistance (a: string, b: string): number {
  let before: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      row[j] = Math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) row[j] = Math.min(row[j], before[j - 2] + 1)
    }
    before = last
    last = row
  }
  return last[b.length]
}
