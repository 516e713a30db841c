import { SwarmError, type SwarmErrorCode } from '../errors.js'

/** Codes that may travel; their place is their number on the wire. */
const WIRE_CODES = ['busy', 'not-hosted', 'malformed', 'too-large', 'wrong-model', 'wrong-wire', 'compute-failed'] as const satisfies SwarmErrorCode[]

export type WireErrorCode = typeof WIRE_CODES[number]

/** The number of a code on the wire. */
export function wireNumber (code: WireErrorCode): number {
  return WIRE_CODES.indexOf(code) + 1
}

/** The code of a number from the wire. Throws SwarmError 'malformed'. */
export function wireCode (number: number): WireErrorCode {
  const code = WIRE_CODES[number - 1]
  if (code == null) throw new SwarmError('malformed', 'The other side sent an error of unknown code.', { reason: 'an error of unknown code' })
  return code
}

/** Whether a failure may be told to the other side by its code. */
export function isWireCode (code: SwarmErrorCode): code is WireErrorCode {
  return (WIRE_CODES as readonly SwarmErrorCode[]).includes(code)
}
