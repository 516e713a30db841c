/** What a peer of the chaos hosts: these experts of each of these layers. */
export interface Holding {
  layers: number[]
  firstExpert: number
  experts: number
}

const LAYERS = 6
const EXPERTS = 32
const HALF = EXPERTS / 2

/** The demo model, 6 layers of 32 experts in blocks of 8, on twelve peers: two with each whole layer and others with halves, so that every block is with two or three. */
export const LAYOUT: readonly Holding[] = [
  ...Array.from({ length: LAYERS }, (_, layer): Holding => ({ layers: [layer, (layer + 1) % LAYERS].sort(), firstExpert: 0, experts: EXPERTS })),
  { layers: [0, 1], firstExpert: 0, experts: HALF },
  { layers: [2, 3], firstExpert: 0, experts: HALF },
  { layers: [4, 5], firstExpert: 0, experts: HALF },
  { layers: [0, 1], firstExpert: HALF, experts: HALF },
  { layers: [3], firstExpert: HALF, experts: HALF },
  { layers: [5], firstExpert: HALF, experts: HALF }
]

/** What one peer holds of the model, as arguments of `moeswarm peer`. */
export function holdingArgs ({ layers, firstExpert, experts }: Holding): string[] {
  return ['--layers', layers.join(','), '--experts', `${firstExpert}-${firstExpert + experts - 1}`]
}

/** The halves of layers that `peer` holds and none of `others` does: empty when it may go. A half is the smallest unit of the layout. */
export function lacking (layout: readonly Holding[], peer: number, others: readonly number[]): Array<{ layer: number, firstExpert: number }> {
  const { layers, firstExpert, experts } = layout[peer]
  const halves = Array.from({ length: experts / HALF }, (_, at) => firstExpert + at * HALF)
  const held = (layer: number, first: number): boolean => others.some(other => {
    const holding = layout[other]
    return other !== peer && holding.layers.includes(layer) && holding.firstExpert <= first && first + HALF <= holding.firstExpert + holding.experts
  })
  return layers.flatMap(layer => halves.filter(first => !held(layer, first)).map(first => ({ layer, firstExpert: first })))
}
