import type { ConnectionEncrypter, MessageStream } from '@libp2p/interface'

/**
 * An encrypter whose ciphertext goes to the socket in one piece. Noise hands over each frame as four pieces, and the TCP transport
 * makes a system call of each; joined, a request of one token costs two calls less a side, and its copy is cheap beside them.
 */
export function coalesced<Components> (encrypter: (components: Components) => ConnectionEncrypter): (components: Components) => ConnectionEncrypter {
  return components => {
    const inner = encrypter(components)
    return {
      protocol: inner.protocol,
      secureOutbound: async (connection, options) => await inner.secureOutbound(sendingInOnePiece(connection), options),
      secureInbound: async (connection, options) => await inner.secureInbound(sendingInOnePiece(connection), options)
    }
  }
}

/** The same stream; libp2p's own send is called with one array instead of a list of them. */
function sendingInOnePiece (connection: MessageStream): MessageStream {
  const send = connection.send.bind(connection)
  connection.send = data => send(data instanceof Uint8Array ? data : data.subarray())
  return connection
}
