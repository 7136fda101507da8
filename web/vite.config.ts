/// <reference types="vitest/config" />
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The bundle is committed where the Python package serves it from, so nobody needs Node to use lmscope.
export default defineConfig({
  plugins: [react()],
  build: {
    outDir: "../src/lmscope/server/static",
    emptyOutDir: true,
    assetsInlineLimit: 0, // a data: address would need a wider content security policy
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 400,
  },
  server: { proxy: { "/api": "http://127.0.0.1:8710" } },
  test: { environment: "jsdom", include: ["src/**/*.test.{ts,tsx}"] },
});
