import './app.css'
import { mount } from 'svelte'
import App from './App.svelte'
import { connection } from '$lib/connection.svelte'
import { i18n } from '$lib/i18n/index.svelte'
import { router, to } from '$lib/router.svelte'
import { session } from '$lib/session.svelte'
import { theme } from '$lib/theme.svelte'

async function start(): Promise<void> {
  theme.start()
  router.start()
  connection.start()
  await i18n.start()
  void session.start()
  const target = document.getElementById('app')
  if (target) mount(App, { target })
}

// Below a path prefix, these scripts would address the portal at the root instead of the one at this address.
if (location.pathname.startsWith(to(''))) await start()
else document.documentElement.classList.add('misplaced')
