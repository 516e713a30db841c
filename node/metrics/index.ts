export { ClientMetrics } from './client-metrics.js'
export { PeerMetrics } from './peer-metrics.js'
export { type MetricsServer, parseHostPort, serveMetrics, type ServeMetricsInit } from './server.js'
