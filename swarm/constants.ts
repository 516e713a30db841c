/* Every number of the swarm: unit in the name, reason in the comment. What a stranger may cost a host is in limits.ts. */

const KiB = 1024
const MiB = 1024 * KiB

// Protocols. The number changes when old and new peers cannot talk.
export const KAD_PROTOCOL = '/moeswarm/kad/1.0.0'
export const MANIFEST_PROTOCOL = '/moeswarm/manifest/1'
export const EXPERTS_PROTOCOL = '/moeswarm/experts/1'
export const BLOCKS_PROTOCOL = '/moeswarm/blocks/1'

// Streams.
/** Yamux does not negotiate it: a peer with another value kills the connection, so it is part of the protocol. */
export const STREAM_INITIAL_WINDOW_BYTES = 256 * KiB
/** Must stay below STREAM_READ_BUFFER_BYTES, or a paused stream is reset. 1 MiB in flight is 18 ms at 450 Mbit/s. */
export const STREAM_MAX_WINDOW_BYTES = MiB
export const STREAM_READ_BUFFER_BYTES = 4 * MiB

// Connections.
/**
 * A machine that vanishes without a FIN is noticed after interval + timeout, about 7 s, on idle connections (a request that it owes is
 * noticed by its deadline), and a stall of the loop of less than 2 s is survived. Each ping opens a stream, about 0.5 ms of CPU on both
 * sides: every second on hundreds of DHT connections would cost a volunteer a tenth of a core.
 */
export const CONNECTION_PING_INTERVAL_MS = 5_000
export const CONNECTION_PING_TIMEOUT_MIN_MS = 2_000
export const CONNECTION_PING_TIMEOUT_MAX_MS = 5_000
/**
 * Pings of one connection that may overlap: the connection monitor's, the directory's, an inspection's. libp2p's default is one, and its monitor ends a connection on which its
 * ping is one too many: over a round trip of 100 ms, where each takes 200 ms of every 5 s, every minute or so. Twice as many inbound: an end that travels is not seen yet.
 */
export const PING_STREAMS = 4
export const RECONNECT_RETRIES = 10
export const RECONNECT_INTERVAL_MS = 200
export const DIAL_TIMEOUT_MS = 5_000

// DHT.
/** The standard k: a record survives unless all 20 holders leave within a republication. */
export const KAD_BUCKET_SIZE = 20
/** Few requests in flight: measured on 20 nodes, a query with alpha 3 and 2 paths costs a third of the default's CPU. */
export const KAD_ALPHA = 3
export const KAD_DISJOINT_PATHS = 2
/** libp2p's 1 s and 5 minutes leave a small network half known for minutes. */
export const KAD_INITIAL_SELF_QUERY_MS = 200
export const KAD_SELF_QUERY_INTERVAL_MS = 30_000
/** Provider records only lead to a peer, its manifest proves that it lives: a stale record costs one failed dial. */
export const PROVIDER_RECORD_VALIDITY_MS = 30 * 60_000
/** Renewed when this much is left. */
export const PROVIDER_RECORD_RENEWAL_MS = 15 * 60_000
export const PROVIDER_RECORD_CHECK_MS = 60_000
/** From the first answer of a bootstrap address to the first entry in the routing table: identify and a ping, on a busy machine. */
export const ROUTING_TABLE_TIMEOUT_MS = 10_000
/** A query that takes longer finds nothing that is near. */
export const DHT_QUERY_TIMEOUT_MS = 10_000

// Announcing.
/** Provide operations at a time: each costs about 1 ms of CPU per contacted peer. */
export const ANNOUNCE_PARALLEL = 4
/** All keys of a model of 60 layers in a swarm of 60 took 20 s at worst; after that the rest is left to the renewal. */
export const ANNOUNCE_TIMEOUT_MS = 30_000
/** New nodes may be nearer to our keys: announce again this long after the routing table last grew. */
export const ANNOUNCE_SETTLE_MS = 1_000
/** Beyond this many known nodes the renewal by age is enough. */
export const ANNOUNCE_GROWTH_PEERS = 3 * KAD_BUCKET_SIZE

// Peer manifest.
export const MANIFEST_INTERVAL_MS = 5_000
/** A manifest lives this many refreshes: one may be lost, two are a dead peer. */
export const MANIFEST_MISSES = 2
/** Fetching it over a connection, a few hundred bytes, and each ping: two round trips. A live peer answers within a stall of its loop. */
export const MANIFEST_FETCH_TIMEOUT_MS = 2_500
/** A peer signs at most once in this time, whoever asks. */
export const MANIFEST_RESEAL_MS = 500
/** 10,000 blocks of varints fit well; a hostile peer costs us this much memory per fetch. */
export const MANIFEST_MAX_BYTES = 256 * KiB
export const MANIFEST_MAX_BLOCKS = 8_192
export const MANIFEST_MAX_VERSION_LENGTH = 64
/** Clocks of volunteers differ; freshness comes from fetching it from the peer itself, this only bounds replays. */
export const MANIFEST_CLOCK_SKEW_MS = 10 * 60_000
export const MANIFEST_MAX_TTL_MS = 10 * 60_000
export const MANIFEST_MAX_INBOUND_STREAMS = 4

// Model ids and shapes that we accept from the network.
export const MODEL_ID_BYTES = 32
export const MAX_LAYERS = 1_024
/** Expert ids are u16 on the wire. */
export const MAX_EXPERTS = 65_535
export const MAX_HIDDEN_SIZE = 65_536

// Directory.
/** Live peers that a client keeps: its plan and spares. It must not grow with the swarm. */
export const MAX_LIVE_PEERS = 64
/** Peers that failed or serve another model, remembered so that they are not dialled at every search. */
export const MAX_REMEMBERED_PEERS = 1_024
export const SEARCH_INTERVAL_MIN_MS = 1_000
/** Searches slow down to this while they find nobody new. */
export const SEARCH_INTERVAL_MAX_MS = 30_000
/** A peer that could not be used is tried again after this, doubling up to the maximum. */
export const PEER_RETRY_MIN_MS = 1_000
export const PEER_RETRY_MAX_MS = 60_000
/** After so many tries, about five minutes, a peer is tried again only when a record or a connection names it anew. */
export const PEER_RETRIES = 10
/** Manifests fetched at a time. */
export const PROBE_PARALLEL = 8

/** Enough for a mean and a deviation, within a second even across the world. */
export const INSPECT_PINGS = 4

// Expert protocol.
/** Protobuf frames of the handshake; a Welcome with 8,192 blocks is the largest. */
export const HANDSHAKE_MAX_BYTES = 128 * KiB
/** A stream that opens and never says hello is closed after this. */
export const HANDSHAKE_TIMEOUT_MS = 5_000
/** A megabyte is 186 tokens of hidden size 2816 in fp16: enough to batch, little enough not to block a small request behind it for long. */
export const MAX_FRAME_BYTES = MiB
/** A frame limit below this cannot carry one token of the largest model. */
export const MIN_FRAME_BYTES = 64 * KiB
/** Tokens of one request. */
export const MAX_REQUEST_TOKENS = 1_024
/** Experts that a token may ask for. */
export const MAX_EXPERTS_PER_TOKEN = 256
/** Requests of one stream that are being served; more are told to come back. */
export const MAX_IN_FLIGHT = 64
/** One for the client, one spare while a broken one is being noticed. */
export const MAX_STREAMS_PER_CONNECTION = 2
/** Bytes that wait for a slow reader before its stream is cut. */
export const MAX_WRITE_BACKLOG_BYTES = 16 * MiB
/** What a full peer asks for when it cannot tell. */
export const BUSY_RETRY_MS = 20
/** A peer's "retry after" is believed up to this. */
export const MAX_RETRY_AFTER_MS = 2_000
/** Requests that are being served when a peer stops get this long. */
export const DRAIN_TIMEOUT_MS = 10_000

// Sessions of a client.
export const SESSION_RETRY_MIN_MS = 100
export const SESSION_RETRY_MAX_MS = 5_000
/**
 * How long a request waits for somebody to hold its experts. A peer that was started again, a lookup, or a machine that slept takes seconds; and a text that ends is worse than one that waits and says so.
 */
export const DEFAULT_PATIENCE_MS = 30_000
/** A request that has waited so long is computed from a copy on this machine, where there is one. */
export const COPY_AFTER_MS = 5_000
/** Between looks at the swarm while a request waits. */
export const PATIENCE_POLL_MS = 250
export const DEFAULT_READY_TIMEOUT_MS = 30_000

// Estimates. Gains of RFC 6298.
export const SRTT_GAIN = 1 / 8
export const RTT_DEVIATION_GAIN = 1 / 4
export const RTT_DEVIATION_WEIGHT = 4
/** Loopback answers sooner than this; a link that only starts on this machine does not. */
export const SAME_MACHINE_RTT_MS = 2
/** A peer that has not been measured is expected to be like a near one: it is tried, and measured. */
export const UNKNOWN_RTT_MS = 20
/** A failure counts as this much expected time, halving in the time below: the peer comes back when others are worse, or later. */
export const FAILURE_PENALTY_MS = 200
export const FAILURE_PENALTY_MAX_MS = 5_000
export const FAILURE_HALF_LIFE_MS = 10_000
/** Expected service time before the first reply, per expert and token. */
export const UNKNOWN_SERVICE_MS = 0.5
/** Distance of a reply's time from what was expected, as a share of it, before it is known. */
export const UNKNOWN_LATENESS = 0.25
/** What is known of a peer's queue and compute is worth half after this time without a reply. */
export const ESTIMATE_HALF_LIFE_MS = 10_000
/** Frames below this say nothing of the bandwidth; at the second a surprise counts half as round trip, half as bandwidth. */
export const BANDWIDTH_MIN_BYTES = 8 * KiB
export const BANDWIDTH_HALF_BYTES = 32 * KiB

// Selection: changes, hedges, probes, wire form.
/** A layer moves to another peer when that is so much faster, as a share and at least in milliseconds. */
export const SWITCH_MIN_GAIN = 0.1
export const SWITCH_MIN_GAIN_MS = 0.3
/** A replica is asked too when a reply is later than expected by this many deviations, this share, and this much: a loop's stall is no reason. */
export const HEDGE_DEVIATIONS = 4
export const HEDGE_MIN_LATENESS = 0.25
export const HEDGE_MIN_LATE_MS = 8
/** Extra requests, hedges and probes together, as a share of all; so many may be sent at once after quiet times. */
export const HEDGE_SHARE = 0.05
export const HEDGE_BURST = 12
/** What a request that was overtaken tells of its peer, against what was known. */
export const LATE_GAIN = 1 / 2
/** A peer that a plan passes over is asked the same as another after this long without a reply, to see whether it has become faster. */
export const SHADOW_INTERVAL_MS = 10_000
/** A probe is a small request, and leaves this much of the budget to hedges. */
export const SHADOW_MAX_ASSIGNMENTS = 64
export const SHADOW_RESERVE = 4
/** int8 is sent instead of fp16 when it saves this share of a request's time, and at least this much. */
export const WIRE_MIN_GAIN = 0.1
export const WIRE_MIN_GAIN_MS = 2

// Verification.
/** Replies to one request that are asked for until two agree. */
export const AUDIT_MAX_REPLIES = 5
/** Liars that are remembered; the one caught first is forgotten first. A proof is about a kilobyte. */
export const MAX_REMEMBERED_LIARS = 256

// Deadlines.
/** A reply is late after this many times of what was expected, within the bounds: a loaded machine stalls, a dead one is also noticed otherwise. */
export const DEADLINE_FACTOR = 8
export const DEADLINE_MIN_MS = 2_000
export const DEADLINE_MAX_MS = 30_000
/** Before the first reply: the peer may be loading its session. */
export const DEADLINE_UNKNOWN_MS = 10_000

// Block transfer.
/** What is verified, requested and fetched again as one: part of a bundle's manifest, so never changed. 32 bytes of digest a MiB. */
export const BLOCK_CHUNK_BYTES = MiB
/** Of file contents in a frame at most, and over the slowest links. Between them what leaves within BLOCKS_FRAME_MS: a hidden state waits behind no more than one that is being sent. */
export const BLOCKS_FRAME_BYTES = 32 * KiB
export const BLOCKS_MIN_FRAME_BYTES = 4 * KiB
export const BLOCKS_FRAME_MS = 3
/** How fast a stream's rate is learned, an acknowledgement. */
export const BLOCKS_RATE_GAIN = 1 / 8
/**
 * Sent and not yet acknowledged, of one stream, over short round trips; half of it at the start. Measured on one connection: a small request beside bulk
 * takes 1.0 ms with this bound and 4 to 26 ms with the socket's alone, at 120 MiB/s.
 */
export const BLOCKS_CREDIT_BYTES = 128 * KiB
/** What longer round trips may have at most, a megabyte on its way from each peer. */
export const BLOCKS_MAX_CREDIT_BYTES = MiB
/** Bulk may make hidden states of the same link wait this long. */
export const BLOCKS_QUEUE_MS = 5
/** Of the delays of this time or of a round trip the least says how long the queue is; and how long a least delay is remembered, for paths change. */
export const BLOCKS_DELAY_MS = 10
export const BLOCKS_LEAST_DELAY_MS = 10_000
/** What fetchers acknowledged at a time before they did so frame by frame. */
export const BLOCKS_ACK_BYTES = 32 * KiB
/** Digests that one question may name: their 32 bytes each fill a frame of contents. */
export const BLOCKS_MAX_DIGESTS = 1_000
/** Longest frame either way: a full question, or contents with their header. */
export const BLOCKS_MAX_FRAME_BYTES = 33 * KiB
/** Reads that a peer keeps waiting for one stream: what a fetcher has under way, and as many that it has cancelled. */
export const BLOCKS_MAX_READS = 4
/** Chunks that a fetcher has under way with one peer, the second so that the peer never idles. Each is a MiB of memory. */
export const BLOCKS_WINDOW_CHUNKS = 2
/** Peers read from at a time: enough to fill a downlink, few enough to be fair. */
export const BLOCKS_MAX_PEERS = 8
/** Streams served at a time; each holds one chunk of contents in memory. */
export const BLOCKS_MAX_STREAMS = 16
/** What a peer whose streams are all taken asks for. */
export const BLOCKS_BUSY_RETRY_MS = 2_000
/** A bundle of 64 GiB has 4 MiB of chunk digests in hex. Read into memory before it can be verified. */
export const BUNDLE_MANIFEST_MAX_BYTES = 32 * MiB
/** A file above this is none: the offset of a chunk stays an exact number. */
export const BLOCKS_MAX_FILE_BYTES = 2 ** 48
/** Bulk beside hidden states costs the thread of the network: at these rates about a quarter of what it can do. */
export const BLOCKS_PEER_BYTES_PER_SECOND = 16 * MiB
export const BLOCKS_TOTAL_BYTES_PER_SECOND = 32 * MiB
/** What may be sent at once after a pause, as time at the full rate. */
export const BLOCKS_BURST_MS = 100
/** Peers whose rate is remembered; one that has been quiet needs no memory. */
export const BLOCKS_MAX_RATED_PEERS = 1_024
/** A peer that sends nothing for this long although something was asked of it is left; one that acknowledges nothing, too. */
export const BLOCKS_STALL_MS = 20_000
/** A stream that asks for nothing is closed after this; above BLOCKS_POLL_MS and BLOCKS_STALL_MS, so that fetchers stay. */
export const BLOCKS_IDLE_MS = 30_000
/** Peers are asked again for what they lacked: they may be fetching too. */
export const BLOCKS_POLL_MS = 2_000
/** Long enough for a search of the DHT and for a peer that restarts. */
export const BLOCKS_PATIENCE_MS = 15_000
/** Peers that may send the same chunk: the last chunks of a slow one are also fetched elsewhere. */
export const BLOCKS_MAX_COPIES = 2

// Placement.
/** Between two moves of a peer at least, and at most twice this: a block of 54 MB takes 10 s at 50 Mbit/s. */
export const PLACEMENT_HOLD_MS = 60_000
/**
 * How long one peer, of all, may move to a block. In the first half it may begin, in the second what it has begun becomes visible to the others:
 * without turns, all volunteers run to the same blocks, and away again.
 */
export const PLACEMENT_TURN_MS = 60_000
/** Holes stop the model: shorter turns. */
export const PLACEMENT_HOLE_TURN_MS = 20_000
/** Blocks exchanged at a time: a moving peer still serves most of what it had. */
export const PLACEMENT_MAX_MOVES = 4
/**
 * A block is given up for another when it is covered this many times better even then: nearly as well covered is well enough, and in a
 * balanced swarm nothing moves.
 */
export const PLACEMENT_MIN_RATIO = 1.25
/** Peers whose manifests a placement is planned from, at most: enough to see what is covered badly, whatever the swarm's size. */
export const PLACEMENT_SAMPLE_PEERS = 128
/** Looks of a volunteer that starts until what it would like to host is what nobody else would; then it takes that, whatever others do. */
export const SETTLE_LOOKS = 8
/** Between two of those, and at most twice this: a manifest may be half a second old. */
export const SETTLE_MS = 600
/** A replica weighs the square root of its capacity, up to this: a fast peer adds speed, but the block leaves with it all the same. */
export const PLACEMENT_MAX_WEIGHT = 4
