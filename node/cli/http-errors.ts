import { UsageError } from './command.js'

/** Why an HTTP server cannot listen, as a sentence with the way out; other errors as they are. */
export function cannotListen (error: unknown, host: string, port: number): unknown {
  switch ((error as NodeJS.ErrnoException).code) {
    case 'EADDRINUSE': return new UsageError(`Port ${port} of ${host} is taken: end what listens there, or give another port.`)
    case 'EACCES': return new UsageError(`Port ${port} needs more rights: give a port from 1024 on.`)
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND': return new UsageError(`${host} is no address of this machine: give another --host.`)
    default: return error
  }
}
