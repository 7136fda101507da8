var e=/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,t=/(?![\t\n\r])\p{Cc}/gu,n=/[\u00ad\u200b\u2028\u2029\u2060\ufeff]/g,r=e=>`⟨U+${e.charCodeAt(0).toString(16).toUpperCase().padStart(4,`0`)}⟩`;function i(i,{showWhitespace:a,breakLines:o}){let s=i.replace(e,r).replace(t,e=>e<` `?String.fromCharCode(9216+e.charCodeAt(0)):r(e)).replace(/\r\n?/g,a?`␍
`:`
`);return a?s.replace(n,r).replace(/ /g,`·`).replace(/\u00a0/g,`⍽`).replace(/\t/g,o?`⇥	`:`⇥`).replace(/\n/g,o?`↵
`:`↵`):o?s:s.replace(/\n/g,` `)}var a=e=>/^(<0x[0-9A-Fa-f]{2}>)+$/.test(e),o=e=>e.trim()===``;export{a as n,i as r,o as t};