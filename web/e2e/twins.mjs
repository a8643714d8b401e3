// Checks that every compressed file of a build has the content of its uncompressed twin, and that none is missing.
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { brotliDecompressSync } from 'node:zlib'

const dist = process.argv[2]
const names = (await readdir(dist, { recursive: true, withFileTypes: true })).filter((e) => e.isFile()).map((e) => path.join(e.parentPath, e.name))
for (const name of names) {
  const packed = name.endsWith('.br') ? name : `${name}.br`
  const plain = packed.slice(0, -3)
  if (plain.endsWith('.woff2')) continue
  const same = names.includes(packed) && names.includes(plain) && brotliDecompressSync(await readFile(packed)).equals(await readFile(plain))
  if (!same) {
    console.error(`${plain} and its compressed twin differ: run make web, and commit what it makes`)
    process.exit(1)
  }
}
