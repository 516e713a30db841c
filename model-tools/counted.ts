/** A number with its noun: '1 key', '3 keys'. @param plural - of nouns that do not just take an s */
export function counted (count: number, noun: string, plural = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : plural}`
}
