async function e(e,n,r,i){let a;try{let t={Accept:`text/event-stream`};r&&(t[`Last-Event-ID`]=r),a=await fetch(e,{headers:t,signal:n,cache:`no-store`,credentials:`same-origin`})}catch{return{kind:`broken`,status:0}}if(!a.ok||!a.body)return{kind:`refused`,status:a.status};let o=a.body.pipeThrough(new TextDecoderStream).getReader(),s=``;try{for(;;){let{done:e,value:n}=await o.read();if(e)return{kind:`closed`,status:200};s+=n.replaceAll(`\r
`,`
`);for(let e=s.indexOf(`

`);e>=0;e=s.indexOf(`

`)){let n=t(s.slice(0,e));s=s.slice(e+2),n&&i(n)}}}catch{return{kind:`broken`,status:0}}}function t(e){let t={id:``,name:`message`,data:``},n=[];for(let r of e.split(`
`)){let e=r.indexOf(`:`);if(e===0)continue;let i=e<0?r:r.slice(0,e),a=e<0?``:r.slice(e+1).replace(/^ /,``);i===`id`?t.id=a:i===`event`?t.name=a:i===`data`&&n.push(a)}if(n.length)return t.data=n.join(`
`),t}export{e as t};