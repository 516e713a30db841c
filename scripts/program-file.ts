import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join, relative, resolve } from 'node:path'
import { build, type Metafile, type Plugin } from 'esbuild'

// The last step of `npm run build`: `moeswarm` is a thousand modules, which Node 20 takes 0.8 s to find and read one by one. As one file they take a tenth of that.
// Only the program becomes one: who imports the package gets its modules, and so do worker threads.

/** Have binaries of their own, beside which they look for them. */
const NATIVE = ['onnxruntime-node', 'koffi']

const [dist] = process.argv.slice(2).map(path => resolve(path))
const folder = join(dist, 'node/cli')

/** What a module finds beside itself (worker threads, the page) stays where it was. */
const ownUrls: Plugin = {
  name: 'own-urls',
  setup (bundling) {
    bundling.onLoad({ filter: /\.js$/ }, async ({ path }) => {
      if (!path.startsWith(dist)) return undefined
      const text = await readFile(path, 'utf8')
      return { contents: text.replaceAll('import.meta.url', `new URL(${JSON.stringify(relative(folder, path))}, import.meta.url).href`), loader: 'js' }
    })
  }
}

const { metafile } = await build({
  entryPoints: [join(folder, 'main.js')],
  outdir: folder,
  allowOverwrite: true,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  mainFields: ['module', 'main'],
  external: [...NATIVE, 'moeswarm/package.json'],
  // CommonJS packages among them call it.
  banner: { js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);" },
  plugins: [ownUrls],
  metafile: true,
  logLevel: 'warning'
})
await rm(join(folder, 'main.js.map'), { force: true })
await writeFile(join(folder, 'THIRD-PARTY.txt'), await notices(metafile))

/** The licences of all packages that are in the file, as these ask for. */
async function notices ({ inputs }: Metafile): Promise<string> {
  const packages = new Set(Object.keys(inputs).flatMap(path => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(resolve(path))?.[1] ?? []))
  const texts = await Promise.all([...packages].sort().map(async directory => {
    const { name, version, license } = JSON.parse(await readFile(join(directory, 'package.json'), 'utf8')) as { name: string, version: string, license?: string }
    const files = (await readdir(directory)).filter(file => /^(licen[cs]e|notice)/i.test(file)).sort()
    const bodies = await Promise.all(files.map(async file => await readFile(join(directory, file), 'utf8')))
    return [`${name} ${version} (${license ?? 'see below'})`, ...bodies.map(body => body.trim())].join('\n\n')
  }))
  return `moeswarm's program contains these packages.\n\n${texts.join(`\n\n${'-'.repeat(80)}\n\n`)}\n`
}
