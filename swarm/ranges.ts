/** Layers or experts as people write them: [0, 1, 2, 5] as '0-2,5', none as 'none'. `numbers` ascend. */
export function formatRanges (numbers: readonly number[]): string {
  const ranges: string[] = []
  for (let at = 0; at < numbers.length;) {
    let end = at
    while (numbers[end + 1] === numbers[end] + 1) end++
    ranges.push(end === at ? `${numbers[at]}` : `${numbers[at]}-${numbers[end]}`)
    at = end + 1
  }
  return ranges.length === 0 ? 'none' : ranges.join(',')
}
