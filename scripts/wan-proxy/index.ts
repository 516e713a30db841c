export { type Endpoint, type LinkChange, type LinkSettings, WanProxy, type WanProxyInit } from './proxy.js'
export type { DirectionSettings } from './direction.js'
export { type ProxyCommand, type ProxyProcess, type ProxySpec, startProxyProcess } from './process.js'
