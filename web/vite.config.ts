import { readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { brotliCompressSync, constants } from 'node:zlib'
import { svelte } from '@sveltejs/vite-plugin-svelte'
import tailwindcss from '@tailwindcss/vite'
import { defineConfig, type Plugin } from 'vite'

// What a browser is served compressed; fonts are compressed already.
const compressible = /\.(js|css|html|svg|txt|md)$/

// packed lays a brotli twin beside every text file. Gzip, for the few who need it, is made by the server when it is first asked for.
function packed(): Plugin {
  let outDir = ''
  return {
    name: 'packed',
    apply: 'build',
    configResolved(config) {
      outDir = path.resolve(config.root, config.build.outDir)
    },
    // The fonts are no modules, so that the list of licences passes them by.
    async generateBundle() {
      for (const font of ['geist', 'geist-mono']) {
        const source = await readFile(path.join(import.meta.dirname, 'node_modules/@fontsource-variable', font, 'LICENSE'))
        this.emitFile({ type: 'asset', fileName: `licence-${font}.txt`, source })
      }
    },
    async closeBundle() {
      const names = await readdir(outDir, { recursive: true })
      for (const name of names.filter((n) => compressible.test(n))) {
        const plain = await readFile(path.join(outDir, name))
        const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: plain.length }
        await writeFile(path.join(outDir, `${name}.br`), brotliCompressSync(plain, { params }))
      }
    },
  }
}

// readable fails the build if a file has more than 250 lines: it does several things. What is generated, the catalogues and the style sheet may.
function readable(): Plugin {
  return {
    name: 'readable',
    apply: 'build',
    async config() {
      const source = path.join(import.meta.dirname, 'src')
      for (const name of await readdir(source, { recursive: true })) {
        if (!/\.(svelte|ts)$/.test(name) || /\.gen\.ts$|^lib\/i18n\/(en|de)\.ts$/.test(name)) continue
        const lines = (await readFile(path.join(source, name), 'utf8')).split('\n').length - 1
        if (lines > 250) throw new Error(`src/${name} has ${lines} lines, more than 250: split it`)
      }
    },
  }
}

export default defineConfig({
  base: '/app/',
  plugins: [readable(), tailwindcss(), svelte(), packed()],
  resolve: { alias: { $lib: path.resolve(import.meta.dirname, 'src/lib') } },
  build: {
    outDir: process.env.DIST ?? '../internal/webui/dist',
    emptyOutDir: true,
    target: 'es2022',
    license: { fileName: 'licences.md' },
    assetsInlineLimit: 0, // data: URLs would need a hole in the policy
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rolldownOptions: {
      // Every page needs the frame, and few need windows over the page: each is one file, because small files compress badly and queue.
      output: {
        codeSplitting: {
          groups: [
            { name: 'frame', priority: 2, test: /\/node_modules\/(svelte|openapi-fetch)\/|\/src\/(shell\/(?!Palette|Keys|Lapsed)|phones\/(phone|list)\.|numbers\/names\.|history\/events\.|lib\/(?!i18n\/de|ui\/(Sheet|Question|Qr|Diff|Pick|Chart)\.))/ },
            { name: 'windows', priority: 1, test: /\/node_modules\/bits-ui\/|\/src\/lib\/ui\/(Sheet|Question)\./ },
          ],
        },
      },
      checks: { pluginTimings: false, circularDependency: true },
      onLog(level, log, handler) {
        if (log.code !== 'CIRCULAR_DEPENDENCY') handler(level, log)
        else if (!log.message.includes('node_modules')) throw new Error(log.message)
      },
    },
  },
})
