/// <reference types="vitest/config" />
import react from "@vitejs/plugin-react";
import { defineConfig, loadEnv } from "vite";

/**
 * What most pages are made of comes with the first script, in one file: as a file for each, a page that is opened
 * by its address would wait for some twenty of them, six at a time. Charts are large, and few pages have one.
 */
const COMMON = /[\\/]src[\\/](ui|api)[\\/]|[\\/]@tanstack[\\/]/;
const CHARTS = /[\\/]ui[\\/](Figure|Histogram|LineChart|bins)\b/;

/** Where `npm run dev` sends what pages ask, as if it came from the server's own pages. */
function proxy(mode: string) {
  const target = loadEnv(mode, ".", "LMSCOPE_").LMSCOPE_API ?? "http://127.0.0.1:8710";
  return { "/api": { target, changeOrigin: true, headers: { origin: target } } };
}

// The bundle is committed where the Python package serves it from, so nobody needs Node to use lmscope.
export default defineConfig(({ mode }) => ({
  plugins: [react()],
  build: {
    outDir: "../src/lmscope/server/static",
    emptyOutDir: true,
    assetsInlineLimit: 0, // a data: address would need a wider content security policy
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 400,
    rolldownOptions: {
      output: {
        codeSplitting: {
          groups: [{ name: "common", test: (id: string) => COMMON.test(id) && !CHARTS.test(id) }],
        },
      },
    },
  },
  server: { proxy: proxy(mode) },
  test: {
    environment: "jsdom",
    include: ["src/**/*.test.{ts,tsx}"],
    setupFiles: ["src/testing.ts"],
    testTimeout: 30_000,
  },
}));
