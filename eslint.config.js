import tseslint from 'typescript-eslint'

const wall = (files, patterns) => ({
  files,
  rules: {
    'no-restricted-imports': ['error', { patterns: [...patterns, { group: ['**/scripts/**', '**/test/**'], message: 'This is a product; scripts and tests import it.' }] }],
    'no-restricted-syntax': ['error', { selector: 'ImportExpression', message: 'Import at the top: the walls between the folders are checked there.' }]
  }
})
const libp2p = ['libp2p', '@libp2p/*', '@chainsafe/libp2p-*', '@multiformats/multiaddr', 'it-*']

export default tseslint.config(
  { ignores: ['dist/', 'dist.next/', '.build/', 'node_modules/', '**/*.pb.ts', 'model-tools/demo-model/', 'docs/api/'] },
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'max-lines': ['error', { max: 320, skipBlankLines: true, skipComments: true }],
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }]
    }
  },
  // The walls of the design: swarm/ knows no compute, model-tools/ knows no network, only node/ joins them.
  wall(['swarm/**/*.ts'], [
    { group: ['onnxruntime*'], message: 'swarm/ never computes: a tensor here is bytes with a shape.' },
    { group: ['**/model-tools/**', '**/node/**'], message: 'swarm/ imports neither model-tools/ nor node/.' }
  ]),
  wall(['model-tools/**/*.ts'], [
    { group: libp2p, message: 'model-tools/ knows nothing of networks.' },
    { group: ['onnxruntime*'], message: 'model-tools/ builds graphs; only node/ runs them.' },
    { group: ['**/swarm/**', '**/node/**'], message: 'model-tools/ imports neither swarm/ nor node/.' }
  ]),
  wall(['node/**/*.ts'], []),
  // The command line uses the library as everybody does.
  wall(['node/cli/*.ts'], [{ regex: '^\\.\\./(?!index\\.js$)', message: 'node/cli imports nothing of ours but node/index.ts.' }]),
  wall(['node/cli/*/*.ts'], [{ regex: '^\\.\\./\\.\\./(?!index\\.js$)', message: 'node/cli imports nothing of ours but node/index.ts.' }]),
  // The page is served as it is written.
  { files: ['eslint.config.js', 'node/serve/page/*.js'], ...tseslint.configs.disableTypeChecked },
  { files: ['test/**/*.ts'], rules: { '@typescript-eslint/no-unused-expressions': 'off' } }
)
