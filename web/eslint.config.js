import js from "@eslint/js";
import hooks from "eslint-plugin-react-hooks";
import ts from "typescript-eslint";

const htmlFromText = [
  "innerHTML",
  "outerHTML",
  "insertAdjacentHTML",
  "dangerouslySetInnerHTML",
  "srcdoc",
].map((name) => ({
  selector: `:matches(MemberExpression > Identifier[name="${name}"], JSXAttribute > JSXIdentifier[name="${name}"])`,
  message: "Tokens and labels are hostile text: render them as React text nodes.",
}));

export default ts.config(
  js.configs.recommended,
  ...ts.configs.recommended,
  hooks.configs.flat.recommended,
  {
    rules: {
      "no-restricted-syntax": ["error", ...htmlFromText],
      "no-eval": "error",
      "no-implied-eval": "error",
      "@typescript-eslint/consistent-type-imports": "error",
    },
  },
  { ignores: ["src/api/schema.d.ts"] },
);
