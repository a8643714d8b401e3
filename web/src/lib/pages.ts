// A list that the portal gives a page at a time, as far as it was asked for.
export type Pages<T> = { list: T[]; more: boolean }

type Page<T> = { list: T[]; next?: string }

// pagesOf fetches so many pages, one behind the other.
export async function pagesOf<T>(count: number, fetch: (cursor?: string) => Promise<Page<T>>): Promise<Pages<T>> {
  let page = await fetch()
  let list = page.list
  for (let i = 1; i < count && page.next; i++) {
    page = await fetch(page.next)
    list = [...list, ...page.list]
  }
  return { list, more: !!page.next }
}
