// A paginated list, as far as it was loaded.
export type Pages<T> = { list: T[]; more: boolean }

type Page<T> = { list: T[]; next?: string }

// pagesOf fetches that many pages in sequence.
export async function pagesOf<T>(count: number, fetch: (cursor?: string) => Promise<Page<T>>): Promise<Pages<T>> {
  let page = await fetch()
  let list = page.list
  for (let i = 1; i < count && page.next; i++) {
    page = await fetch(page.next)
    list = [...list, ...page.list]
  }
  return { list, more: !!page.next }
}
